//! What `SignResponsesLayer` does to requests and responses, and the responses that cannot be signed.

use std::{
    convert::Infallible,
    io::Write,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use countersign::{Scheme, SchemeError, SignResponsesLayer};
use http::{HeaderMap, Request, Response, header};
use http_body::Frame;
use http_body_util::StreamBody;
use tower::ServiceExt;
use tower_http::compression::CompressionLayer;

use super::{Received, responding, response_to_get, send, send_signed, signing};
use crate::rig::{self, signed, signer};

fn with_header(name: &'static str, value: &'static str) -> Response<Body> {
    Response::builder().header(name, value).body(Body::from("ok")).unwrap()
}

fn frames(frames: Vec<Result<Frame<Bytes>, std::io::Error>>) -> Body {
    Body::new(StreamBody::new(futures_util::stream::iter(frames)))
}

/// Asserts that the response is a signed 500 that does not tell the caller the reason.
fn assert_misconfigured(received: &Received) {
    assert_eq!((received.parts.status.as_u16(), received.code()), (500, "misconfigured"));
    received.check().unwrap();
    let body: serde_json::Value = serde_json::from_slice(&received.body).unwrap();
    assert_eq!(body["detail"], "the service cannot sign its response: its operator finds the reason in its events");
}

#[tokio::test]
async fn response_that_cannot_be_signed_is_a_signed_500() {
    let responses: [fn() -> Response<Body>; 10] = [
        || with_header("content-type", "application/grpc"),
        || with_header("content-type", "application/grpc+proto"),
        || with_header("content-type", "Text/Event-Stream; charset=utf-8"),
        || with_header("content-type", "nonsense"),
        || with_header("content-type", "multipart/mixed"),
        || with_header("trailer", "grpc-status"),
        || {
            let mut response = with_header("content-type", "text/plain");
            response.headers_mut().append("content-type", "text/html".parse().unwrap());
            response
        },
        || {
            let trailers = HeaderMap::from_iter([(header::ETAG, "\"1\"".parse().unwrap())]);
            Response::new(frames(vec![Ok(Frame::data("ok".into())), Ok(Frame::trailers(trailers))]))
        },
        || Response::new(frames(vec![Ok(Frame::data("ok".into())), Err(std::io::Error::other("broken"))])),
        || Response::new(Body::from(vec![0; 2 * 1024 * 1024 + 1])),
    ];
    for response in responses {
        assert_misconfigured(&response_to_get(response).await);
    }
    response_to_get(|| with_header("content-type", "application/grpc-web")).await.check().unwrap();
}

#[tokio::test]
async fn endless_stream_is_refused_at_its_head() {
    let events = || {
        let body = Body::new(StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>()));
        Response::builder().header("content-type", "text/event-stream").body(body).unwrap()
    };
    assert_misconfigured(&response_to_get(events).await);
}

#[tokio::test]
async fn limit_of_the_body_can_be_set() {
    let verifier = rig::verifier().0;
    let layer = SignResponsesLayer::new(verifier.scheme()).unwrap().with_max_body(3);
    let service = Router::new()
        .route("/three", get(|| async { "abc" }))
        .route("/four", get(|| async { "abcd" }))
        .route("/chunks", get(|| async { frames(vec![Ok(Frame::data("ab".into())), Ok(Frame::data("cd".into()))]) }))
        .layer(verifier.into_layer())
        .layer(layer);
    send(&service, rig::get("/three")).await.check().unwrap();
    assert_misconfigured(&send(&service, rig::get("/four")).await);
    assert_misconfigured(&send(&service, rig::get("/chunks")).await);
}

#[tokio::test]
async fn streamed_bodies_are_buffered_and_signed() {
    let received = response_to_get(|| {
        Response::new(frames((0..1000).map(|i| Ok(Frame::data(Bytes::from(format!("{i},"))))).collect()))
    })
    .await;
    received.check().unwrap();
    assert!(received.body.starts_with(b"0,1,2,") && received.body.ends_with(b",999,"));
}

#[tokio::test]
async fn responses_of_all_kinds_are_signed() {
    for status in [200, 201, 204, 206, 302, 304, 404, 500] {
        let received = response_to_get(move || {
            let body = if matches!(status, 204 | 304) { Body::empty() } else { Body::from("text") };
            Response::builder().status(status).header("location", "/a").body(body).unwrap()
        })
        .await;
        assert_eq!(received.parts.status, status);
        received.check().unwrap();
    }
    response_to_get(|| Response::new(Body::empty())).await.check().unwrap();
}

#[tokio::test]
async fn head_is_signed_without_its_body() {
    let service = signing(rig::verifier().0, responding(|| Response::new(Body::from("not sent"))));
    let received = send(&service, Request::head("/").body("").unwrap()).await;
    assert_eq!(received.parts.headers["x-response-content-sha256"], crate::reference::string::sha256(b""));
    received.check().unwrap();
}

#[tokio::test]
async fn switching_protocols_keeps_its_upgrade() {
    #[derive(Clone)]
    struct Upgrade;
    let received = response_to_get(|| {
        Response::builder().status(101).header("upgrade", "x").extension(Upgrade).body(Body::empty()).unwrap()
    })
    .await;
    assert!(received.parts.extensions.get::<Upgrade>().is_some());
    received.check().unwrap();
}

#[tokio::test]
async fn response_must_not_be_transformed() {
    for (service, sent) in [
        (None, "no-transform, private"),
        (Some("no-store"), "no-transform, no-store"),
        (Some("max-age=\"1"), "no-transform, private, max-age=\"1"),
    ] {
        let received = response_to_get(move || {
            let mut response = Response::new(Body::from("ok"));
            if let Some(value) = service {
                response.headers_mut().insert("cache-control", value.parse().unwrap());
            }
            response
        })
        .await;
        assert_eq!(received.parts.headers["cache-control"], sent);
    }
}

#[tokio::test]
async fn service_gets_no_accept_encoding_but_identity() {
    let accepted = |headers: HeaderMap| async move {
        format!("{:?}", headers.get_all("accept-encoding").iter().collect::<Vec<_>>())
    };
    let service = signing(rig::verifier().0, Router::new().route("/", get(accepted)));
    for request in [
        rig::get("/"),
        Request::get("/").header("accept-encoding", "gzip").header("accept-encoding", "br").body("").unwrap(),
    ] {
        assert_eq!(send(&service, request).await.body, "[\"identity\"]");
    }
}

#[test]
fn signed_accept_encoding_is_an_error() {
    let scheme = Scheme::new().with_signed_headers([header::ACCEPT_ENCODING]).unwrap();
    let error = SignResponsesLayer::new(&scheme).unwrap_err();
    assert!(matches!(error, SchemeError::SignedHeader { name: header::ACCEPT_ENCODING, .. }), "{error}");
}

fn with_compression(is_below: bool) -> Router {
    let verifier = rig::verifier().0;
    let sign = SignResponsesLayer::new(verifier.scheme()).unwrap();
    let compress = || CompressionLayer::new();
    let service = Router::new().route("/", get(|| async { "abc ".repeat(1000) }));
    match is_below {
        true => service.layer(compress()).layer(verifier.into_layer()).layer(sign),
        false => service.layer(verifier.into_layer()).layer(sign).layer(compress()),
    }
}

#[tokio::test]
async fn compression_belongs_below_the_layer() {
    let request = || Request::get("/").header("accept-encoding", "gzip").body("").unwrap();
    let below = send(&with_compression(true), request()).await;
    assert!(!below.parts.headers.contains_key("content-encoding"));
    below.check().unwrap();
    let above = send(&with_compression(false), request()).await;
    assert_eq!(above.parts.headers["content-encoding"], "gzip", "tower-http does not heed no-transform");
    assert!(above.check().is_err());
}

#[tokio::test]
async fn body_that_the_service_encoded_is_signed_as_it_is() {
    let received = response_to_get(|| with_header("content-encoding", "gzip")).await;
    received.check().unwrap();
    let mut decoded = received;
    decoded.parts.headers.remove("content-encoding");
    assert!(decoded.check().is_err());
}

#[tokio::test]
async fn signature_of_another_service_is_not_passed_on() {
    let foreign = || with_header("x-response-sign", "of another service");
    let received = response_to_get(foreign).await;
    received.check().unwrap();
    let service = signing(rig::verifier().0.with_insecure_bypass(|_, _| true), responding(foreign));
    let response = service.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
    assert!(!response.headers().contains_key("x-response-sign"));
}

#[tokio::test]
async fn unsigned_response_is_not_buffered() {
    let endless = || {
        let body = futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>();
        Response::new(Body::new(StreamBody::new(body)))
    };
    let service = signing(rig::verifier().0.with_insecure_bypass(|_, _| true), responding(endless));
    let response = service.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn operator_learns_what_is_misconfigured() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(response_to_get(|| with_header("content-type", "text/event-stream")));
    });
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("a text/event-stream never ends") && log.contains("ERROR"), "{log}");
}

#[tokio::test]
async fn names_in_the_scheme_are_signed() {
    let scheme = Scheme::new().with_signed_response_headers([header::LOCATION]).unwrap();
    let verifier = rig::verifier().0.with_scheme(scheme.clone());
    let service = signing(verifier, responding(|| with_header("location", "/orders/17")));
    let signer = signer().with_scheme(scheme);
    let mut received = send_signed(&service, &signer, signed(rig::get("/"))).await;
    received.check_with(&signer).unwrap();
    received.parts.headers.insert("location", "/orders/18".parse().unwrap());
    assert!(received.check_with(&signer).is_err());
}
