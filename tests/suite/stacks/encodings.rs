//! Compressed bodies. The signature covers the bytes as sent, so request bodies are decompressed inside the layer.

use std::convert::Infallible;

use axum::{Router, body::Body, extract::DefaultBodyLimit, routing::post as on_post};
use bytes::Bytes;
use countersign::{Limits, Scheme};
use http::{Request, Response, header};
use tower::{Layer, ServiceBuilder, service_fn};
use tower_http::{
    compression::CompressionLayer,
    decompression::{DecompressionLayer, RequestDecompressionLayer},
    map_request_body::MapRequestBodyLayer,
};

use super::{assert_accepts_only_signed, layer, layer_of, order, rejected, rejection, respond, status_and_text};
use crate::rig::{NOW, post, signed, signed_by, signer_of, verifier};

/// Long enough for the compression layer to compress it.
const TEXT: &str = "one two three four five six seven eight nine ten";

fn orders() -> Router {
    Router::new().route("/orders", on_post(order))
}

async fn gzipped(text: &str) -> Bytes {
    let text = service_fn(|_| async { Ok::<_, Infallible>(Response::new(Body::from(text.to_owned()))) });
    let request = Request::get("/").header("accept-encoding", "gzip").body("").unwrap();
    let body = respond(CompressionLayer::new().layer(text), request).await.into_body();
    assert_eq!(body[..2], [0x1F, 0x8B]);
    body
}

#[tokio::test]
async fn outer_layer_compresses_responses_and_rejections() {
    let app = orders().layer(ServiceBuilder::new().layer(CompressionLayer::new()).layer(layer()));
    assert_accepts_only_signed(app.clone(), "demo orders 1").await;
    // A client that sends `accept-encoding: gzip` and decompresses the response.
    assert_accepts_only_signed(DecompressionLayer::new().layer(app.clone()), "demo orders 1").await;
    let request = || post("/orders", "text/plain", TEXT);
    for (mut sent, status) in [(signed(request()), 200), (request(), 401)] {
        sent.headers_mut().insert(header::ACCEPT_ENCODING, "gzip".parse().unwrap());
        let response = respond(app.clone(), sent).await;
        assert_eq!((response.status().as_u16(), &response.body()[..2]), (status, &[0x1F, 0x8B][..]));
    }
}

fn scheme() -> Scheme {
    Scheme::new().with_signed_headers([header::CONTENT_ENCODING]).unwrap()
}

async fn signed_gzip(scheme: Scheme) -> Request<Bytes> {
    let request = Request::post("/orders").header("content-encoding", "gzip").body(gzipped(TEXT).await).unwrap();
    signed_by(&signer_of(scheme), NOW, request)
}

#[tokio::test]
async fn inner_layer_decompresses_by_the_signed_encoding() {
    let stack = ServiceBuilder::new().layer(layer_of(scheme())).layer(RequestDecompressionLayer::new());
    let app = orders().layer(stack);
    assert_eq!(status_and_text(app.clone(), signed_gzip(scheme()).await).await, (200, format!("demo orders {TEXT}")));

    let mut unsigned = signed_gzip(scheme()).await;
    unsigned.headers_mut().remove("x-sign");
    assert_eq!(rejection(app.clone(), unsigned).await, rejected(400, "missing_field"));

    let mut read_as_it_is = signed_gzip(scheme()).await;
    read_as_it_is.headers_mut().remove(header::CONTENT_ENCODING);
    assert_eq!(rejection(app.clone(), read_as_it_is).await, rejected(401, "invalid_signature"));

    let plain = Request::post("/orders").body(gzipped(TEXT).await).unwrap();
    let mut read_as_gzip = signed_by(&signer_of(scheme()), NOW, plain);
    read_as_gzip.headers_mut().insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
    assert_eq!(rejection(app, read_as_gzip).await, rejected(401, "invalid_signature"));
}

#[tokio::test]
async fn verifier_limits_compressed_and_axum_decompressed_bytes() {
    let hundred = verifier().0.with_limits(Limits::new().with_body(100)).into_layer();
    let app = |read: DefaultBodyLimit| {
        let stack = ServiceBuilder::new().layer(hundred.clone()).layer(RequestDecompressionLayer::new());
        orders().layer(stack.layer(read))
    };
    let text = "x".repeat(1000);
    let body = gzipped(&text).await;
    let small = || signed(Request::post("/orders").header("content-encoding", "gzip").body(body.clone()).unwrap());
    assert_eq!(status_and_text(app(DefaultBodyLimit::max(1000)), small()).await, (200, format!("demo orders {text}")));
    assert_eq!(status_and_text(app(DefaultBodyLimit::max(999)), small()).await.0, 413);
    let plain = signed(Request::post("/orders").body(text).unwrap());
    assert_eq!(rejection(app(DefaultBodyLimit::max(1000)), plain).await, rejected(413, "body_too_large"));
}

#[tokio::test]
async fn unsigned_encoding_can_be_changed_in_transit() {
    let app = orders().layer(ServiceBuilder::new().layer(layer()).layer(RequestDecompressionLayer::new()));
    assert_eq!(
        status_and_text(app.clone(), signed_gzip(Scheme::new()).await).await,
        (200, format!("demo orders {TEXT}"))
    );
    let mut read_as_it_is = signed_gzip(Scheme::new()).await;
    read_as_it_is.headers_mut().remove(header::CONTENT_ENCODING);
    let (status, text) = status_and_text(app.clone(), read_as_it_is).await;
    assert!(status == 400 && text.contains("valid UTF-8"), "the handler got compressed bytes: {text}");
    let unsigned = Request::post("/orders").header("content-encoding", "gzip").body("").unwrap();
    assert_eq!(rejection(app, unsigned).await, rejected(401, "unsigned"));
}

#[tokio::test]
async fn request_decompressed_above_is_rejected() {
    for (scheme, code) in [(Scheme::new(), "body_mismatch"), (scheme(), "invalid_signature")] {
        let stack = ServiceBuilder::new()
            .layer(RequestDecompressionLayer::new())
            .layer(MapRequestBodyLayer::new(Body::new))
            .layer(layer_of(scheme.clone()));
        let app = orders().layer(stack);
        assert_eq!(rejection(app.clone(), signed_gzip(scheme.clone()).await).await, rejected(401, code));
        let plain = Request::post("/orders").body("1").unwrap();
        assert_eq!(
            status_and_text(app, signed_by(&signer_of(scheme), NOW, plain)).await.0,
            200,
            "plain bodies hide the wrong order"
        );
    }
}
