//! axum: the layer around a router, routes and methods, in nested routers, and between middleware.

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

use super::{assert_accepts_only_signed, layer, order, rejected, rejection, status_and_text};
use crate::rig::{get, post, signed, verifier};

#[tokio::test]
async fn layer_works_on_routers_routes_and_methods() {
    let text = "demo orders 1";
    assert_accepts_only_signed(Router::new().route("/orders", on_post(order)).layer(layer()), text).await;
    assert_accepts_only_signed(Router::new().route("/orders", on_post(order)).route_layer(layer()), text).await;
    assert_accepts_only_signed(Router::new().route("/orders", on_post(order).layer(layer())), text).await;
    assert_accepts_only_signed(layer().layer(Router::new().route("/orders", on_post(order))), text).await;
}

#[tokio::test]
async fn layer_around_a_router_hides_its_paths() {
    let orders = || Router::new().route("/orders", on_post(order));
    let (all, routes) = (orders().layer(layer()), orders().route_layer(layer()));
    for app in [&all, &routes] {
        assert_eq!(status_and_text(app.clone(), signed(get("/nowhere"))).await.0, 404);
        assert_eq!(status_and_text(app.clone(), signed(get("/orders"))).await.0, 405);
        assert_eq!(rejection(app.clone(), get("/orders")).await, rejected(401, "unsigned"));
    }
    assert_eq!(rejection(all, get("/nowhere")).await, rejected(401, "unsigned"));
    assert_eq!(status_and_text(routes, get("/nowhere")).await.0, 404);
}

#[tokio::test]
async fn middleware_below_the_layer_gets_the_caller() {
    async fn above(request: axum::extract::Request, next: Next) -> axum::response::Response {
        assert!(request.extensions().get::<Caller>().is_none(), "the request is not verified yet");
        next.run(request).await
    }
    async fn below(caller: Caller, request: axum::extract::Request, next: Next) -> axum::response::Response {
        assert_eq!(caller.app_id().as_str(), "demo");
        next.run(request).await
    }
    let stack = ServiceBuilder::new().layer(from_fn(above)).layer(layer()).layer(from_fn(below));
    assert_accepts_only_signed(Router::new().route("/orders", on_post(order)).layer(stack), "demo orders 1").await;
}

/// A handler that reads the body frame by frame.
async fn streaming(request: Request<Body>) -> String {
    let mut body = request.into_body();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        length += frame.unwrap().into_data().unwrap().len();
    }
    format!("{length} bytes")
}

#[tokio::test]
async fn layer_works_with_a_streaming_handler() {
    assert_accepts_only_signed(Router::new().route("/orders", on_post(streaming)).layer(layer()), "1 bytes").await;
}

async fn show_uris(uri: Uri, OriginalUri(original): OriginalUri) -> String {
    format!("{uri} of {original}")
}

fn mounted_twice() -> Router {
    let inner = Router::new().route("/orders", any(show_uris)).layer(layer());
    Router::new().nest("/v1", inner.clone()).nest_service("/v2", inner)
}

#[tokio::test]
async fn nested_router_verifies_the_original_path() {
    let app = mounted_twice();
    for mount in ["/v1", "/v2"] {
        let target = format!("{mount}/orders?a=1");
        let expected = (200, format!("/orders?a=1 of {target}"));
        assert_eq!(status_and_text(app.clone(), signed(get(&target))).await, expected);
        let mut altered = signed(get(&target));
        *altered.uri_mut() = format!("{target}&admin").parse().unwrap();
        assert_eq!(status_and_text(app.clone(), altered).await, expected, "both URIs are stripped");
        assert_eq!(status_and_text(app.clone(), signed(get("/orders?a=1"))).await.0, 404);
        let mut inner_path = signed(get("/orders?a=1"));
        *inner_path.uri_mut() = target.parse().unwrap();
        let rejected = rejected(401, "invalid_signature");
        assert_eq!(rejection(app.clone(), inner_path).await, rejected, "the inner path is not the signed one");
    }
}

#[tokio::test]
async fn signatures_are_valid_for_one_mount_only() {
    for (signed_for, sent_to) in [("/v1", "/v2"), ("/v2", "/v1")] {
        let mut moved = signed(get(&format!("{signed_for}/orders?a=1")));
        *moved.uri_mut() = format!("{sent_to}/orders?a=1").parse().unwrap();
        assert_eq!(rejection(mounted_twice(), moved.clone()).await, rejected(401, "invalid_signature"));
        *moved.uri_mut() = format!("{signed_for}/orders?a=1").parse().unwrap();
        assert_eq!(status_and_text(mounted_twice(), moved).await.0, 200);
    }
}

#[tokio::test]
async fn clients_sign_the_prefix_that_proxy_strips() {
    let layer = verifier().0.with_prefix("/api").unwrap().into_layer();
    let inner = Router::new().route("/orders", any(show_uris)).layer(layer);
    let app = Router::new().nest("/v1", inner);
    let as_forwarded = |signed_for: &str| {
        let mut request = signed(get(signed_for));
        *request.uri_mut() = "/v1/orders?a=1".parse().unwrap();
        request
    };
    let expected = (200, "/orders?a=1 of /v1/orders?a=1".to_owned());
    assert_eq!(status_and_text(app.clone(), as_forwarded("/api/v1/orders?a=1")).await, expected);
    for signed_for in ["/v1/orders?a=1", "/api/orders?a=1", "/apiv1/orders?a=1", "/api/api/v1/orders?a=1"] {
        let answer = rejection(app.clone(), as_forwarded(signed_for)).await;
        assert_eq!(answer, rejected(401, "invalid_signature"), "{signed_for}");
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
    assert_eq!(status_and_text(inside.clone(), old()).await, (200, "demo orders 1".to_owned()));
    assert_eq!(rejection(inside, post("/old", "text/plain", "1")).await, rejected(401, "unsigned"));

    let wrong = ServiceBuilder::new().map_request(rewrite).layer(layer()).service(app.clone());
    assert_eq!(rejection(wrong, old()).await, rejected(401, "invalid_signature"));

    // A service that cannot change the order can store the original URI where axum's routers store it.
    let keep = |mut request: Request<Body>| {
        let original = OriginalUri(request.uri().clone());
        request.extensions_mut().insert(original);
        request
    };
    let kept = ServiceBuilder::new().map_request(keep).map_request(rewrite).layer(layer()).service(app);
    assert_eq!(status_and_text(kept, old()).await, (200, "demo orders 1".to_owned()));
}

#[tokio::test]
async fn parameter_added_by_middleware_is_removed() {
    async fn add_parameter(mut request: axum::extract::Request, next: Next) -> axum::response::Response {
        let original = request.uri().clone();
        request.extensions_mut().insert(OriginalUri(original));
        *request.uri_mut() = "/orders?a=1&admin=1".parse().unwrap();
        next.run(request).await
    }
    let app = Router::new().route("/orders", on_get(show_uris)).layer(layer()).layer(from_fn(add_parameter));
    assert_eq!(
        status_and_text(app.clone(), signed(get("/orders?a=1"))).await,
        (200, "/orders?a=1 of /orders?a=1".to_owned())
    );
    assert_eq!(rejection(app, get("/orders?a=1")).await, rejected(401, "unsigned"));
}

#[tokio::test]
async fn two_verifying_layers_are_misconfigured() {
    let app = Router::new().route("/orders", on_post(order)).layer(layer()).layer(layer());
    let (status, text) = status_and_text(app, signed(post("/orders", "text/plain", "1"))).await;
    assert_eq!(status, 500);
    assert!(text.contains("two verifying layers"), "{text}");
}

#[tokio::test]
async fn extractor_without_a_layer_is_an_error() {
    let app = Router::new().route("/orders", on_post(order));
    let (status, text) = status_and_text(app, signed(post("/orders", "text/plain", "1"))).await;
    assert_eq!(status, 500);
    assert!(text.contains("no VerifyLayer"), "{text}");
}

#[tokio::test]
async fn handler_can_take_an_optional_caller() {
    async fn both(caller: Option<Caller>) -> String {
        caller.map_or("anybody".to_owned(), |caller| caller.app_id().to_string())
    }
    let app = Router::new().route("/in", on_get(both)).layer(layer()).route("/out", on_get(both));
    assert_eq!(status_and_text(app.clone(), signed(get("/in"))).await, (200, "demo".to_owned()));
    assert_eq!(rejection(app.clone(), get("/in")).await, rejected(401, "unsigned"));
    assert_eq!(status_and_text(app, get("/out")).await, (200, "anybody".to_owned()));
}
