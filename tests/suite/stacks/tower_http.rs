//! tower-http outside and inside the layer: tracing, panics, CORS and path normalization.

use std::sync::mpsc;

use axum::{Router, body::Body, routing::post as on_post};
use countersign::{Caller, Rejection, RejectionKind};
use http::{HeaderName, HeaderValue, Method, Request, Response};
use tower::{Layer, ServiceBuilder};
use tower_http::{
    catch_panic::CatchPanicLayer, cors::CorsLayer, normalize_path::NormalizePathLayer, trace::TraceLayer,
};

use super::{assert_accepts_only_signed, layer, order, rejected, rejection, respond, status_and_text};
use crate::rig::{NOW, post, signed, signed_by, signer};

fn orders() -> Router {
    Router::new().route("/orders", on_post(order))
}

#[tokio::test]
async fn outer_trace_gets_the_rejection() {
    let (sender, kinds) = mpsc::channel();
    let trace = TraceLayer::new_for_http().on_response(move |response: &Response<_>, _, _: &_| {
        sender.send(response.extensions().get().map(Rejection::kind)).unwrap();
    });
    let app = orders().layer(ServiceBuilder::new().layer(trace).layer(layer()));
    assert_accepts_only_signed(app, "demo orders 1").await;
    let seen: Vec<_> = kinds.try_iter().collect();
    assert_eq!(seen, [None, Some(RejectionKind::Unsigned), Some(RejectionKind::BodyMismatch)]);
}

#[tokio::test]
async fn inner_trace_sees_only_verified_callers() {
    let (sender, callers) = mpsc::channel();
    let trace = TraceLayer::new_for_http().make_span_with(move |request: &Request<Body>| {
        let caller: &Caller = request.extensions().get().unwrap();
        sender.send(caller.app_id().as_str().to_owned()).unwrap();
        tracing::Span::none()
    });
    let app = orders().layer(ServiceBuilder::new().layer(layer()).layer(trace));
    assert_accepts_only_signed(app, "demo orders 1").await;
    assert_eq!(callers.try_iter().collect::<Vec<_>>(), ["demo"]);
}

#[tokio::test]
async fn handler_panic_returns_500_and_uses_the_nonce() {
    async fn panics() {
        panic!("expected in this test");
    }
    let app = orders().route("/broken", on_post(panics));
    let outside = app.clone().layer(ServiceBuilder::new().layer(CatchPanicLayer::new()).layer(layer()));
    let inside = app.layer(ServiceBuilder::new().layer(layer()).layer(CatchPanicLayer::new()));
    for app in [outside, inside] {
        assert_accepts_only_signed(app.clone(), "demo orders 1").await;
        let request = || post("/broken", "text/plain", "1");
        let valid = signed(request());
        assert_eq!(status_and_text(app.clone(), valid.clone()).await, (500, "Service panicked".to_owned()));
        assert_eq!(rejection(app.clone(), valid).await, rejected(401, "replayed_nonce"));
        assert_eq!(rejection(app, request()).await, rejected(401, "unsigned"));
    }
}

const SHOP: &str = "https://shop.example";

fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(HeaderValue::from_static(SHOP))
        .allow_methods([Method::POST])
        .allow_headers(["x-app-id", "x-timestamp", "x-nonce", "x-sign"].map(HeaderName::from_static))
        .expose_headers([HeaderName::from_static("x-server-time")])
}

/// The CORS preflight of a browser, which cannot be signed.
fn preflight() -> Request<&'static str> {
    Request::options("/orders")
        .header("origin", SHOP)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "x-app-id,x-nonce,x-sign,x-timestamp")
        .body("")
        .unwrap()
}

fn stale_from_a_page() -> Request<&'static str> {
    let request = Request::post("/orders").header("origin", SHOP).body("1").unwrap();
    signed_by(&signer(), NOW - 301, request)
}

#[tokio::test]
async fn outer_cors_answers_preflights_and_exposes_rejections() {
    let app = orders().layer(ServiceBuilder::new().layer(cors()).layer(layer()));
    assert_accepts_only_signed(app.clone(), "demo orders 1").await;
    let response = respond(app.clone(), preflight()).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["access-control-allow-methods"]),
        (200, &"POST".parse().unwrap())
    );
    let response = respond(app, stale_from_a_page()).await;
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers()["access-control-allow-origin"], SHOP);
    assert_eq!(response.headers()["access-control-expose-headers"], "x-server-time");
    assert_eq!(response.headers()["x-server-time"], NOW.to_string());
}

#[tokio::test]
async fn inner_cors_rejects_preflights() {
    let app = orders().layer(ServiceBuilder::new().layer(layer()).layer(cors()));
    assert_eq!(rejection(app.clone(), preflight()).await, rejected(401, "unsigned"));
    let response = respond(app, stale_from_a_page()).await;
    assert_eq!(response.status(), 401);
    assert!(!response.headers().contains_key("access-control-allow-origin"), "pages cannot read the rejection");
}

#[tokio::test]
async fn path_can_be_normalized_inside() {
    let app = layer().layer(NormalizePathLayer::trim_trailing_slash().layer(orders()));
    assert_accepts_only_signed(app.clone(), "demo orders 1").await;
    let slashed = || post("/orders/", "text/plain", "1");
    assert_eq!(status_and_text(app.clone(), signed(slashed())).await.0, 200);
    assert_eq!(rejection(app.clone(), slashed()).await, rejected(401, "unsigned"));
    let mut moved = signed(post("/orders", "text/plain", "1"));
    *moved.uri_mut() = "/orders/".parse().unwrap();
    assert_eq!(rejection(app, moved).await, rejected(401, "invalid_signature"));
}

#[tokio::test]
async fn path_normalized_above_is_rejected() {
    let inside_a_router = NormalizePathLayer::trim_trailing_slash().layer(orders().layer(layer()));
    let around_a_router = NormalizePathLayer::trim_trailing_slash().layer(layer().layer(orders()));
    let slashed = || signed(post("/orders/", "text/plain", "1"));
    assert_eq!(rejection(inside_a_router, slashed()).await, rejected(401, "invalid_signature"));
    assert_eq!(rejection(around_a_router.clone(), slashed()).await, rejected(401, "invalid_signature"));
    assert_accepts_only_signed(around_a_router, "demo orders 1").await;
}
