//! tower-http around the layer and inside it: what it logs, catches, answers itself and rewrites.

use std::sync::mpsc;

use axum::{Router, body::Body, routing::post as on_post};
use countersign::{Caller, Rejection, RejectionKind};
use http::{HeaderName, HeaderValue, Method, Request, Response};
use tower::{Layer, ServiceBuilder};
use tower_http::{
    catch_panic::CatchPanicLayer, cors::CorsLayer, normalize_path::NormalizePathLayer, trace::TraceLayer,
};

use super::{ask, layer, lets_in_only_signed, order, refusal, refused, respond};
use crate::rig::{NOW, post, signed, signed_by, signer};

fn orders() -> Router {
    Router::new().route("/orders", on_post(order))
}

#[tokio::test]
async fn a_trace_above_sees_why_a_request_was_refused() {
    let (sender, kinds) = mpsc::channel();
    let trace = TraceLayer::new_for_http().on_response(move |response: &Response<_>, _, _: &_| {
        sender.send(response.extensions().get().map(Rejection::kind)).unwrap();
    });
    let app = orders().layer(ServiceBuilder::new().layer(trace).layer(layer()));
    lets_in_only_signed(app, "demo orders 1").await;
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
    lets_in_only_signed(app, "demo orders 1").await;
    assert_eq!(callers.try_iter().collect::<Vec<_>>(), ["demo"]);
}

#[tokio::test]
async fn a_panic_below_is_a_500_whose_nonce_is_spent() {
    async fn panics() {
        panic!("the handler, as it should in this test");
    }
    let app = orders().route("/broken", on_post(panics));
    let outside = app.clone().layer(ServiceBuilder::new().layer(CatchPanicLayer::new()).layer(layer()));
    let inside = app.layer(ServiceBuilder::new().layer(layer()).layer(CatchPanicLayer::new()));
    for app in [outside, inside] {
        lets_in_only_signed(app.clone(), "demo orders 1").await;
        let request = || post("/broken", "text/plain", "1");
        let good = signed(request());
        assert_eq!(ask(app.clone(), good.clone()).await, (500, "Service panicked".to_owned()));
        assert_eq!(refusal(app.clone(), good).await, refused(401, "replayed_nonce"));
        assert_eq!(refusal(app, request()).await, refused(401, "unsigned"));
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

/// What a browser asks before it lets a page send. It cannot be signed.
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
async fn cors_outside_answers_preflights_and_lets_pages_read_refusals() {
    let app = orders().layer(ServiceBuilder::new().layer(cors()).layer(layer()));
    lets_in_only_signed(app.clone(), "demo orders 1").await;
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
async fn cors_inside_is_the_wrong_order_for_preflights_are_refused() {
    let app = orders().layer(ServiceBuilder::new().layer(layer()).layer(cors()));
    assert_eq!(refusal(app.clone(), preflight()).await, refused(401, "unsigned"));
    let response = respond(app, stale_from_a_page()).await;
    assert_eq!(response.status(), 401);
    assert!(!response.headers().contains_key("access-control-allow-origin"), "no page can read why");
}

#[tokio::test]
async fn a_path_is_normalized_inside() {
    let app = layer().layer(NormalizePathLayer::trim_trailing_slash().layer(orders()));
    lets_in_only_signed(app.clone(), "demo orders 1").await;
    let slashed = || post("/orders/", "text/plain", "1");
    assert_eq!(ask(app.clone(), signed(slashed())).await.0, 200);
    assert_eq!(refusal(app.clone(), slashed()).await, refused(401, "unsigned"));
    let mut moved = signed(post("/orders", "text/plain", "1"));
    *moved.uri_mut() = "/orders/".parse().unwrap();
    assert_eq!(refusal(app, moved).await, refused(401, "invalid_signature"));
}

#[tokio::test]
async fn path_normalized_above_is_rejected() {
    let inside_a_router = NormalizePathLayer::trim_trailing_slash().layer(orders().layer(layer()));
    let around_a_router = NormalizePathLayer::trim_trailing_slash().layer(layer().layer(orders()));
    let slashed = || signed(post("/orders/", "text/plain", "1"));
    assert_eq!(refusal(inside_a_router, slashed()).await, refused(401, "invalid_signature"));
    assert_eq!(refusal(around_a_router.clone(), slashed()).await, refused(401, "invalid_signature"));
    lets_in_only_signed(around_a_router, "demo orders 1").await;
}
