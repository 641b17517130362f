//! The layer in the stacks that people have.

use std::convert::Infallible;

use axum::{
    Router,
    body::Body,
    extract::OriginalUri,
    middleware::{Next, from_fn},
    routing::{any, get as on_get, post as on_post},
};
use bytes::Bytes;
use countersign::{
    Caller, VerifyLayer,
    server::{BodyError, ServiceBody, UnverifiedBody},
};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_http::map_request_body::MapRequestBodyLayer;

use crate::rig::{self, get, keys, post, signed, verifier};

fn layer() -> VerifyLayer<countersign::StaticKeys> {
    verifier().0.into_layer()
}

fn axum(request: Request<&'static str>) -> Request<Body> {
    request.map(Body::from)
}

/// What an axum service answers: status and text.
async fn ask<S, B>(service: S, request: Request<&'static str>) -> (u16, String)
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let response = service.oneshot(axum(request)).await.unwrap();
    let status = response.status().as_u16();
    let text = rig::bytes(response.into_body()).await;
    (status, String::from_utf8(text.to_vec()).unwrap())
}

/// Asserts that the service lets a signed request in, and no other.
async fn lets_in_only_signed<S, B>(service: S, text: &str)
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone,
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
{
    assert_eq!(ask(service.clone(), signed(post("/orders", "text/plain", "1"))).await, (200, text.to_owned()));
    assert_eq!(ask(service.clone(), post("/orders", "text/plain", "1")).await.0, 400);
    let mut forged = signed(post("/orders", "text/plain", "1"));
    *forged.body_mut() = "2";
    assert_eq!(ask(service, forged).await.0, 401);
}

async fn order(caller: Caller, body: String) -> String {
    format!("{} orders {body}", caller.app_id())
}

#[tokio::test]
async fn around_an_axum_router_its_routes_and_its_methods() {
    let text = "demo orders 1";
    lets_in_only_signed(Router::new().route("/orders", on_post(order)).layer(layer()), text).await;
    lets_in_only_signed(Router::new().route("/orders", on_post(order)).route_layer(layer()), text).await;
    lets_in_only_signed(Router::new().route("/orders", on_post(order).layer(layer())), text).await;
    lets_in_only_signed(layer().layer(Router::new().route("/orders", on_post(order))), text).await;
}

#[tokio::test]
async fn between_middleware_above_and_below() {
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

/// The same on the crate's own body, whose error a service can tell from its own.
async fn streaming_service(request: Request<ServiceBody>) -> Result<Response<Full<Bytes>>, BodyError> {
    let mut body = request.into_body();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        length += frame?.into_data().map_or(0, |data| data.len());
    }
    Ok(Response::new(Full::new(format!("{length} bytes").into())))
}

#[tokio::test]
async fn around_a_tower_service_on_any_body() {
    let service = ServiceBuilder::new()
        .layer(MapRequestBodyLayer::new(UnverifiedBody::new))
        .layer(layer())
        .service(service_fn(streaming_service));
    let request = signed(post("/", "text/plain", "four")).map(|body| Full::new(Bytes::from(body)));
    let response = service.clone().oneshot(request).await.unwrap();
    assert_eq!(rig::bytes(response.into_body()).await, "4 bytes");
    let response = service.oneshot(get("/").map(|body| Full::new(Bytes::from(body)))).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn over_hypers_incoming_without_axum() {
    let service = VerifyLayer::new(keys()).layer(service_fn(streaming_service));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let request = || Request::post(format!("http://{address}/p?a=1")).body(Bytes::from("four")).unwrap();
    let signed = rig::signer().sign(request()).unwrap();
    let response = client.request(signed.map(Full::new)).await.unwrap();
    assert_eq!(rig::bytes(response.into_body()).await, "4 bytes");
    let response = client.request(request().map(Full::new)).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    server.abort();
}

async fn seen(uri: Uri, OriginalUri(original): OriginalUri) -> String {
    format!("{uri} of {original}")
}

#[tokio::test]
async fn under_nest_the_original_path_is_signed_and_its_query_stripped() {
    let inner = Router::new().route("/orders", any(seen)).layer(layer());
    let app = Router::new().nest("/v1", inner.clone()).nest_service("/v2", inner);
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
        assert_eq!(ask(app.clone(), inner_path).await.0, 401, "the stripped path is not what is signed");
    }
    let mut moved = signed(get("/v1/orders?a=1"));
    *moved.uri_mut() = "/v2/orders?a=1".parse().unwrap();
    assert_eq!(ask(app, moved).await.0, 401, "two mounts do not accept each other's signatures");
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
    assert_eq!(ask(app, signed(get("/orders?a=1"))).await, (200, "/orders?a=1 of /orders?a=1".to_owned()));
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
    assert_eq!(ask(app, get("/out")).await, (200, "anybody".to_owned()));
}

#[tokio::test]
async fn the_service_that_is_ready_is_the_one_that_is_called() {
    let limited = ServiceBuilder::new().concurrency_limit(1).service(service_fn(streaming_service));
    let mut service = layer().layer(limited);
    for _ in 0..3 {
        let request = signed(get("/")).map(|body| UnverifiedBody::new(Full::new(Bytes::from(body))));
        std::future::poll_fn(|context| Service::<Request<UnverifiedBody>>::poll_ready(&mut service, context))
            .await
            .unwrap();
        let response = service.call(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn the_services_own_error_passes() {
    let broken = service_fn(|_: Request<ServiceBody>| async { Err::<Response<Full<Bytes>>, _>("out of order") });
    let request = signed(get("/")).map(|body| UnverifiedBody::new(Full::new(Bytes::from(body))));
    assert_eq!(layer().layer(broken).oneshot(request).await.unwrap_err(), "out of order");
}

#[test]
fn public_types_are_what_stacks_need() {
    /// Neither can be cloned.
    struct Keys;
    struct Nonces;
    fn is<T: Send + Sync + Unpin + 'static>() {}
    fn clones<T: Clone>() {}
    is::<countersign::Verifier<Keys, Nonces>>();
    clones::<countersign::Verifier<Keys, Nonces>>();
    is::<VerifyLayer<Keys, Nonces>>();
    clones::<VerifyLayer<Keys, Nonces>>();
    is::<countersign::server::Verify<(), Keys, Nonces>>();
    clones::<countersign::server::Verify<(), Keys, Nonces>>();
    is::<Caller>();
    is::<countersign::Rejection>();
    is::<countersign::Signer>();
    is::<countersign::client::Sign<()>>();
    fn is_body<T: Send + Unpin + Default + 'static>() {}
    is_body::<ServiceBody>();
    is::<BodyError>();
    fn has_default<T: Default>() {}
    has_default::<countersign::server::ResponseBody<Full<Bytes>>>();
}
