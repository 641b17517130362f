//! axum: around a router, its routes and its methods, under mounts, and between middleware.

use axum::{
    Router,
    body::Body,
    extract::OriginalUri,
    middleware::{Next, from_fn},
    routing::{any, get as on_get, post as on_post},
};
use countersign::Caller;
use http::{Request, Uri};
use http_body_util::BodyExt;
use tower::{Layer, ServiceBuilder};

use super::{ask, layer, lets_in_only_signed, order, refusal, refused};
use crate::rig::{get, post, signed, verifier};

#[tokio::test]
async fn around_an_axum_router_its_routes_and_its_methods() {
    let text = "demo orders 1";
    lets_in_only_signed(Router::new().route("/orders", on_post(order)).layer(layer()), text).await;
    lets_in_only_signed(Router::new().route("/orders", on_post(order)).route_layer(layer()), text).await;
    lets_in_only_signed(Router::new().route("/orders", on_post(order).layer(layer())), text).await;
    lets_in_only_signed(layer().layer(Router::new().route("/orders", on_post(order))), text).await;
}

#[tokio::test]
async fn layer_around_a_router_hides_its_paths() {
    let orders = || Router::new().route("/orders", on_post(order));
    let (all, routes) = (orders().layer(layer()), orders().route_layer(layer()));
    for app in [&all, &routes] {
        assert_eq!(ask(app.clone(), signed(get("/nowhere"))).await.0, 404);
        assert_eq!(ask(app.clone(), signed(get("/orders"))).await.0, 405);
        assert_eq!(refusal(app.clone(), get("/orders")).await, refused(401, "unsigned"));
    }
    assert_eq!(refusal(all, get("/nowhere")).await, refused(401, "unsigned"));
    assert_eq!(ask(routes, get("/nowhere")).await.0, 404);
}

#[tokio::test]
async fn middleware_below_the_layer_gets_the_caller() {
    async fn above(request: axum::extract::Request, next: Next) -> axum::response::Response {
        assert!(request.extensions().get::<Caller>().is_none(), "nobody is verified yet");
        next.run(request).await
    }
    async fn below(caller: Caller, request: axum::extract::Request, next: Next) -> axum::response::Response {
        assert_eq!(caller.app_id().as_str(), "demo");
        next.run(request).await
    }
    let stack = ServiceBuilder::new().layer(from_fn(above)).layer(layer()).layer(from_fn(below));
    lets_in_only_signed(Router::new().route("/orders", on_post(order)).layer(stack), "demo orders 1").await;
}

/// A handler that takes the body as it streams, as every service may.
async fn streaming(request: Request<Body>) -> String {
    let mut body = request.into_body();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        length += frame.unwrap().into_data().unwrap().len();
    }
    format!("{length} bytes")
}

#[tokio::test]
async fn around_a_handler_that_streams() {
    lets_in_only_signed(Router::new().route("/orders", on_post(streaming)).layer(layer()), "1 bytes").await;
}

async fn seen(uri: Uri, OriginalUri(original): OriginalUri) -> String {
    format!("{uri} of {original}")
}

fn mounted_twice() -> Router {
    let inner = Router::new().route("/orders", any(seen)).layer(layer());
    Router::new().nest("/v1", inner.clone()).nest_service("/v2", inner)
}

#[tokio::test]
async fn under_nest_the_original_path_is_signed_and_its_query_stripped() {
    let app = mounted_twice();
    for mount in ["/v1", "/v2"] {
        let target = format!("{mount}/orders?a=1");
        let expected = (200, format!("/orders?a=1 of {target}"));
        assert_eq!(ask(app.clone(), signed(get(&target))).await, expected);
        let mut added = signed(get(&target));
        *added.uri_mut() = format!("{target}&admin").parse().unwrap();
        assert_eq!(ask(app.clone(), added).await, expected, "both URIs are stripped");
        assert_eq!(ask(app.clone(), signed(get("/orders?a=1"))).await.0, 404);
        let mut inner_path = signed(get("/orders?a=1"));
        *inner_path.uri_mut() = target.parse().unwrap();
        let rejected = refused(401, "invalid_signature");
        assert_eq!(refusal(app.clone(), inner_path).await, rejected, "the stripped path is not what is signed");
    }
}

#[tokio::test]
async fn two_mounts_of_one_router_do_not_accept_each_others_signatures() {
    for (signed_for, sent_to) in [("/v1", "/v2"), ("/v2", "/v1")] {
        let mut moved = signed(get(&format!("{signed_for}/orders?a=1")));
        *moved.uri_mut() = format!("{sent_to}/orders?a=1").parse().unwrap();
        assert_eq!(refusal(mounted_twice(), moved.clone()).await, refused(401, "invalid_signature"));
        *moved.uri_mut() = format!("{signed_for}/orders?a=1").parse().unwrap();
        assert_eq!(ask(mounted_twice(), moved).await.0, 200);
    }
}

#[tokio::test]
async fn clients_sign_the_prefix_that_proxy_strips() {
    let layer = verifier().0.with_prefix("/api").unwrap().into_layer();
    let inner = Router::new().route("/orders", any(seen)).layer(layer);
    let app = Router::new().nest("/v1", inner);
    let as_forwarded = |signed_for: &str| {
        let mut request = signed(get(signed_for));
        *request.uri_mut() = "/v1/orders?a=1".parse().unwrap();
        request
    };
    let expected = (200, "/orders?a=1 of /v1/orders?a=1".to_owned());
    assert_eq!(ask(app.clone(), as_forwarded("/api/v1/orders?a=1")).await, expected);
    for signed_for in ["/v1/orders?a=1", "/api/orders?a=1", "/apiv1/orders?a=1", "/api/api/v1/orders?a=1"] {
        let answer = refusal(app.clone(), as_forwarded(signed_for)).await;
        assert_eq!(answer, refused(401, "invalid_signature"), "{signed_for}");
    }
}

#[tokio::test]
async fn path_rewrite_below_the_layer_is_accepted() {
    fn rewrite<B>(mut request: Request<B>) -> Request<B> {
        *request.uri_mut() = "/orders".parse().unwrap();
        request
    }
    let app = Router::new().route("/orders", on_post(order));
    let old = || signed(post("/old", "text/plain", "1"));

    let inside = ServiceBuilder::new().layer(layer()).map_request(rewrite).service(app.clone());
    assert_eq!(ask(inside.clone(), old()).await, (200, "demo orders 1".to_owned()));
    assert_eq!(refusal(inside, post("/old", "text/plain", "1")).await, refused(401, "unsigned"));

    let wrong = ServiceBuilder::new().map_request(rewrite).layer(layer()).service(app.clone());
    assert_eq!(refusal(wrong, old()).await, refused(401, "invalid_signature"));

    // Whoever cannot change the order keeps what was sent where axum's routers keep it.
    let keep = |mut request: Request<Body>| {
        let original = OriginalUri(request.uri().clone());
        request.extensions_mut().insert(original);
        request
    };
    let kept = ServiceBuilder::new().map_request(keep).map_request(rewrite).layer(layer()).service(app);
    assert_eq!(ask(kept, old()).await, (200, "demo orders 1".to_owned()));
}

#[tokio::test]
async fn a_parameter_that_middleware_adds_is_not_passed_off_as_signed() {
    async fn add_parameter(mut request: axum::extract::Request, next: Next) -> axum::response::Response {
        let original = request.uri().clone();
        request.extensions_mut().insert(OriginalUri(original));
        *request.uri_mut() = "/orders?a=1&admin=1".parse().unwrap();
        next.run(request).await
    }
    let app = Router::new().route("/orders", on_get(seen)).layer(layer()).layer(from_fn(add_parameter));
    assert_eq!(ask(app.clone(), signed(get("/orders?a=1"))).await, (200, "/orders?a=1 of /orders?a=1".to_owned()));
    assert_eq!(refusal(app, get("/orders?a=1")).await, refused(401, "unsigned"));
}

#[tokio::test]
async fn two_layers_say_that_one_is_enough() {
    let app = Router::new().route("/orders", on_post(order)).layer(layer()).layer(layer());
    let (status, text) = ask(app, signed(post("/orders", "text/plain", "1"))).await;
    assert_eq!(status, 500);
    assert!(text.contains("two verifying layers"), "{text}");
}

#[tokio::test]
async fn an_extractor_without_a_layer_says_so() {
    let app = Router::new().route("/orders", on_post(order));
    let (status, text) = ask(app, signed(post("/orders", "text/plain", "1"))).await;
    assert_eq!(status, 500);
    assert!(text.contains("no VerifyLayer"), "{text}");
}

#[tokio::test]
async fn a_handler_may_take_verified_callers_and_others() {
    async fn both(caller: Option<Caller>) -> String {
        caller.map_or("anybody".to_owned(), |caller| caller.app_id().to_string())
    }
    let app = Router::new().route("/in", on_get(both)).layer(layer()).route("/out", on_get(both));
    assert_eq!(ask(app.clone(), signed(get("/in"))).await, (200, "demo".to_owned()));
    assert_eq!(refusal(app.clone(), get("/in")).await, refused(401, "unsigned"));
    assert_eq!(ask(app, get("/out")).await, (200, "anybody".to_owned()));
}
