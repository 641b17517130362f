//! Limits on bodies that others set, above the layer and inside it.

use std::{convert::Infallible, time::Duration};

use axum::{Router, body::Body, extract::DefaultBodyLimit, routing::post as on_post};
use countersign::{Limits, Scheme};
use futures_util::stream;
use http::Request;
use tower::ServiceBuilder;
use tower_http::{limit::RequestBodyLimitLayer, map_request_body::MapRequestBodyLayer};

use super::{ask, layer, lets_in_only_signed, order, refusal, refused};
use crate::rig::{NOW, code, post, signed, signed_by, signer_of, verifier};

fn orders() -> Router {
    Router::new().route("/orders", on_post(order))
}

fn four_bytes() -> Request<&'static str> {
    signed(post("/orders", "text/plain", "four"))
}

fn declared(mut request: Request<&'static str>) -> Request<&'static str> {
    let length = request.body().len();
    request.headers_mut().insert("content-length", length.into());
    request
}

#[tokio::test]
async fn declared_length_above_outer_limit_spends_no_nonce() {
    let stack = ServiceBuilder::new()
        .layer(RequestBodyLimitLayer::new(3))
        .layer(MapRequestBodyLayer::new(Body::new))
        .layer(layer());
    let app = orders().layer(stack);
    lets_in_only_signed(app.clone(), "demo orders 1").await;

    let good = declared(four_bytes());
    for _ in 0..2 {
        assert_eq!(ask(app.clone(), good.clone()).await, (413, "length limit exceeded".to_owned()));
    }
    let mut unsigned = good;
    unsigned.headers_mut().remove("x-sign");
    assert_eq!(ask(app.clone(), unsigned).await.0, 413);
    assert_eq!(refusal(app, four_bytes()).await, refused(413, "body_too_large"));
}

#[tokio::test]
async fn a_limit_inside_comes_after_the_body_was_read() {
    let app = orders().layer(ServiceBuilder::new().layer(layer()).layer(RequestBodyLimitLayer::new(3)));
    lets_in_only_signed(app.clone(), "demo orders 1").await;
    let good = declared(four_bytes());
    assert_eq!(ask(app.clone(), good.clone()).await, (413, "length limit exceeded".to_owned()));
    assert_eq!(refusal(app, good).await, refused(401, "replayed_nonce"));
}

#[tokio::test]
async fn axums_own_limit_holds_in_extractors_wherever_it_stands() {
    let above = ServiceBuilder::new().layer(DefaultBodyLimit::max(3)).layer(layer());
    let below = ServiceBuilder::new().layer(layer()).layer(DefaultBodyLimit::max(3));
    for app in [orders().layer(above), orders().layer(below)] {
        lets_in_only_signed(app.clone(), "demo orders 1").await;
        let good = four_bytes();
        let (status, text) = ask(app.clone(), good.clone()).await;
        assert_eq!((status, &*text), (413, "Failed to buffer the request body: length limit exceeded"));
        assert_eq!(refusal(app, good).await, refused(401, "replayed_nonce"), "it was verified before");
    }
}

#[tokio::test]
async fn the_verifiers_limit_is_413_whatever_axums_allows() {
    let three = verifier().0.with_limits(Limits::new().with_body(3)).into_layer();
    let app = orders().layer(ServiceBuilder::new().layer(DefaultBodyLimit::disable()).layer(three));
    lets_in_only_signed(app.clone(), "demo orders 1").await;
    let mut forged = declared(four_bytes());
    forged.headers_mut().insert("x-sign", "0".repeat(64).parse().unwrap());
    assert_eq!(refusal(app.clone(), forged.clone()).await, refused(413, "body_too_large"), "before any MAC");
    forged.headers_mut().remove("content-length");
    let unknown_length = forged.map(|body| Body::from_stream(stream::iter([Ok::<_, Infallible>(body)])));
    assert_eq!(refusal(app.clone(), unknown_length).await, refused(401, "invalid_signature"));
    let unknown_length = four_bytes().map(|body| Body::from_stream(stream::iter([Ok::<_, Infallible>(body)])));
    assert_eq!(refusal(app, unknown_length).await, refused(413, "body_too_large"));
}

#[tokio::test]
async fn limits_and_tolerance_keep_the_scheme() {
    let scheme = Scheme::new().with_audience("orders.example.com").unwrap();
    let verifier = verifier().0.with_scheme(scheme.clone());
    let uploads = verifier.with_limits(Limits::new().with_body(3)).with_tolerance(Duration::from_secs(1));
    let request = || post("/orders", "text/plain", "abc");
    let of_another = signed(request());
    assert_eq!(code(&uploads, of_another).await, "invalid_signature");
    assert_eq!(code(&uploads, signed_by(&signer_of(scheme), NOW, request())).await, "accepted");
}
