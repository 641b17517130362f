//! Runs the functions of docs/open_routes.md.

use std::fs;

use axum::{
    Router,
    body::Body,
    routing::{get, post},
};
use countersign::{StaticKeys, Verifier, VerifyLayer, clock::ManualClock, testing::assert_closed};
use futures_util::FutureExt;
use http::Request;
use tower::{Layer, ServiceExt};

use crate::rig::{self, NOW, signed, verifier};

fn whole_application(layer: VerifyLayer<StaticKeys>) -> Router {
    let inside = Router::new().route("/orders", get(async || "orders")).fallback(async || "nothing here");
    Router::new().fallback_service(layer.layer(inside))
}

async fn every_route_is_closed(app: Router) {
    let to = |method: &str, path: &str| Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    assert_closed(app, [to("GET", "/orders"), to("POST", "/orders"), to("GET", "/no-such-route")]).await;
}

fn added_after_the_layer_is_open(layer: VerifyLayer<StaticKeys>) -> Router {
    Router::new().layer(layer).route("/orders", get(async || "orders")).fallback(async || "nothing here")
}

fn added_before_the_layer_is_closed(layer: VerifyLayer<StaticKeys>) -> Router {
    Router::new().route("/orders", get(async || "orders")).fallback(async || "nothing here").layer(layer)
}

fn a_method_after_the_layer_is_open(layer: VerifyLayer<StaticKeys>) -> Router {
    Router::new().route("/orders", get(async || "orders").layer(layer).post(async || "ordered"))
}

fn a_method_before_the_layer_is_closed(layer: VerifyLayer<StaticKeys>) -> Router {
    Router::new().route("/orders", get(async || "orders").post(async || "ordered").layer(layer))
}

fn a_fallback_beside_route_layer_is_open(layer: VerifyLayer<StaticKeys>) -> Router {
    Router::new().route("/orders", get(async || "orders")).fallback(async || "nothing here").route_layer(layer)
}

fn a_fallback_inside_layer_is_closed(layer: VerifyLayer<StaticKeys>) -> Router {
    Router::new().route("/orders", get(async || "orders")).fallback(async || "nothing here").layer(layer)
}

fn a_fallback_outside_the_nest_is_open(layer: VerifyLayer<StaticKeys>) -> Router {
    let api = Router::new().route("/orders", get(async || "orders")).layer(layer);
    Router::new().nest("/api", api).fallback(async || "nothing here")
}

fn a_fallback_in_the_nest_is_closed(layer: VerifyLayer<StaticKeys>) -> Router {
    let api = Router::new().route("/orders", get(async || "orders")).fallback(async || "nothing here").layer(layer);
    Router::new().nest("/api", api)
}

fn a_merged_method_is_open(layer: VerifyLayer<StaticKeys>) -> Router {
    let reading = Router::new().route("/orders", get(async || "orders")).layer(layer);
    reading.merge(Router::new().route("/orders", post(async || "ordered")))
}

fn a_merged_method_is_closed(layer: VerifyLayer<StaticKeys>) -> Router {
    let reading = Router::new().route("/orders", get(async || "orders"));
    reading.merge(Router::new().route("/orders", post(async || "ordered"))).layer(layer)
}

fn two_routers_with_one_memory(verifier: Verifier<StaticKeys>) -> [Router; 2] {
    let app = || Router::new().route("/orders", get(async || "orders"));
    [app().layer(verifier.clone().into_layer()), app().layer(verifier.into_layer())]
}

fn layer() -> VerifyLayer<StaticKeys> {
    verifier().0.into_layer()
}

fn to(method: &str, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).body(Body::empty()).unwrap()
}

/// Whether a request without a signature reaches a handler.
async fn is_open(app: Router, method: &str, path: &str) -> bool {
    let request = to(method, path);
    std::panic::AssertUnwindSafe(assert_closed(app, [request])).catch_unwind().await.is_err()
}

#[tokio::test]
async fn recommended_shape_leaves_no_route_open() {
    every_route_is_closed(whole_application(layer())).await;
    let request = signed(rig::get("/orders")).map(Body::from);
    let response = whole_application(layer()).oneshot(request).await.unwrap();
    assert_eq!(rig::bytes(response.into_body()).await, "orders");
}

#[tokio::test]
async fn documented_routes_are_open_or_closed() {
    for (open, closed, method, path) in [
        (added_after_the_layer_is_open(layer()), added_before_the_layer_is_closed(layer()), "GET", "/orders"),
        (added_after_the_layer_is_open(layer()), added_before_the_layer_is_closed(layer()), "GET", "/nothing"),
        (a_method_after_the_layer_is_open(layer()), a_method_before_the_layer_is_closed(layer()), "POST", "/orders"),
        (a_fallback_beside_route_layer_is_open(layer()), a_fallback_inside_layer_is_closed(layer()), "GET", "/nothing"),
        (
            a_fallback_outside_the_nest_is_open(layer()),
            a_fallback_in_the_nest_is_closed(layer()),
            "GET",
            "/api/nothing",
        ),
        (a_merged_method_is_open(layer()), a_merged_method_is_closed(layer()), "POST", "/orders"),
    ] {
        assert!(is_open(open, method, path).await, "{method} {path} is closed");
        assert!(!is_open(closed, method, path).await, "{method} {path} is open");
    }
}

#[tokio::test]
async fn one_verifier_accepts_a_request_once() {
    let [first, second] = two_routers_with_one_memory(verifier().0);
    let request = signed(rig::get("/orders"));
    assert_eq!(first.oneshot(request.clone().map(Body::from)).await.unwrap().status(), 200);
    assert_eq!(second.oneshot(request.map(Body::from)).await.unwrap().status(), 401);
}

#[tokio::test]
async fn assert_closed_fails_on_a_store_error() {
    let down = countersign::store::key_fn(|_| async { Err::<Option<countersign::Secret>, _>("no route") });
    let app = Router::new()
        .route("/orders", get(async || "orders"))
        .layer(Verifier::new(down).with_clock(ManualClock::at(NOW)).into_layer());
    let request = signed(rig::get("/orders")).map(Body::from);
    let result = std::panic::AssertUnwindSafe(assert_closed(app, [request])).catch_unwind().await;
    assert!(result.is_err(), "a 503 does not prove that the route is closed");
}

/// The functions in this file and on the page are identical.
#[test]
fn documented_functions_match_the_tested_ones() {
    let read = |file: &str| fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (page, source) = (read("docs/open_routes.md"), read("tests/suite/open_routes.rs"));
    let mut count = 0;
    for block in page.split("```rust\n").skip(1).filter_map(|block| block.split("```").next()) {
        let functions = block.split_once("\n\n").unwrap().1.trim_end();
        for function in functions.split("\n\n") {
            assert!(source.contains(function), "no test runs this function:\n{function}");
            count += 1;
        }
    }
    assert_eq!(count, 13);
}
