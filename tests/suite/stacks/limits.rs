//! Body limits of other layers, outside and inside the verifier.

use std::{convert::Infallible, time::Duration};

use axum::{Router, body::Body, extract::DefaultBodyLimit, routing::post as on_post};
use countersign::{Limits, Scheme};
use futures_util::stream;
use http::Request;
use tower::ServiceBuilder;
use tower_http::{limit::RequestBodyLimitLayer, map_request_body::MapRequestBodyLayer};

use super::{assert_accepts_only_signed, layer, order, rejected, rejection, status_and_text};
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
async fn declared_length_above_outer_limit_uses_no_nonce() {
    let stack = ServiceBuilder::new()
        .layer(RequestBodyLimitLayer::new(3))
        .layer(MapRequestBodyLayer::new(Body::new))
        .layer(layer());
    let app = orders().layer(stack);
    assert_accepts_only_signed(app.clone(), "demo orders 1").await;

    let valid = declared(four_bytes());
    for _ in 0..2 {
        assert_eq!(status_and_text(app.clone(), valid.clone()).await, (413, "length limit exceeded".to_owned()));
    }
    let mut unsigned = valid;
    unsigned.headers_mut().remove("x-sign");
    assert_eq!(status_and_text(app.clone(), unsigned).await.0, 413);
    assert_eq!(rejection(app, four_bytes()).await, rejected(413, "body_too_large"));
}

#[tokio::test]
async fn inner_limit_applies_after_the_body_is_read() {
    let app = orders().layer(ServiceBuilder::new().layer(layer()).layer(RequestBodyLimitLayer::new(3)));
    assert_accepts_only_signed(app.clone(), "demo orders 1").await;
    let valid = declared(four_bytes());
    assert_eq!(status_and_text(app.clone(), valid.clone()).await, (413, "length limit exceeded".to_owned()));
    assert_eq!(rejection(app, valid).await, rejected(401, "replayed_nonce"));
}

#[tokio::test]
async fn axums_default_limit_applies_in_extractors() {
    let above = ServiceBuilder::new().layer(DefaultBodyLimit::max(3)).layer(layer());
    let below = ServiceBuilder::new().layer(layer()).layer(DefaultBodyLimit::max(3));
    for app in [orders().layer(above), orders().layer(below)] {
        assert_accepts_only_signed(app.clone(), "demo orders 1").await;
        let valid = four_bytes();
        let (status, text) = status_and_text(app.clone(), valid.clone()).await;
        assert_eq!((status, &*text), (413, "Failed to buffer the request body: length limit exceeded"));
        assert_eq!(rejection(app, valid).await, rejected(401, "replayed_nonce"), "the first request was verified");
    }
}

#[tokio::test]
async fn verifier_limit_applies_without_axums_limit() {
    let three = verifier().0.with_limits(Limits::new().with_body(3)).into_layer();
    let app = orders().layer(ServiceBuilder::new().layer(DefaultBodyLimit::disable()).layer(three));
    assert_accepts_only_signed(app.clone(), "demo orders 1").await;
    let mut forged = declared(four_bytes());
    forged.headers_mut().insert("x-sign", "0".repeat(64).parse().unwrap());
    assert_eq!(
        rejection(app.clone(), forged.clone()).await,
        rejected(413, "body_too_large"),
        "before the signature check"
    );
    forged.headers_mut().remove("content-length");
    let unknown_length = forged.map(|body| Body::from_stream(stream::iter([Ok::<_, Infallible>(body)])));
    assert_eq!(rejection(app.clone(), unknown_length).await, rejected(401, "invalid_signature"));
    let unknown_length = four_bytes().map(|body| Body::from_stream(stream::iter([Ok::<_, Infallible>(body)])));
    assert_eq!(rejection(app, unknown_length).await, rejected(413, "body_too_large"));
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
