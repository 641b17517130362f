//! Requests that bypass verification, and requests that do not.

use bytes::Bytes;
use countersign::{Caller, StaticKeys, Verifier, server::UnverifiedBody};
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, StreamBody};
use tower::{Layer, ServiceExt, service_fn};

use crate::rig::{self, code, get, incoming, post, signed, verifier};

fn open_health() -> Verifier<StaticKeys> {
    verifier().0.with_insecure_bypass(|method, uri| method == http::Method::GET && uri.path() == "/health")
}

#[tokio::test]
async fn only_bypassed_requests_need_no_signature() {
    let verifier = open_health();
    assert_eq!(code(&verifier, get("/health?deep=")).await, "accepted");
    assert_eq!(code(&verifier, post("/health", "text/plain", "")).await, "unsigned");
    assert_eq!(code(&verifier, get("/health/../orders")).await, "unsigned");
    assert_eq!(code(&verifier, signed(get("/orders"))).await, "accepted");
    let (other, _) = rig::verifier();
    assert_eq!(code(&other, get("/health")).await, "unsigned", "no bypass is set by default");
}

#[tokio::test]
async fn bypassed_request_is_unchanged_without_a_caller() {
    // A bypassed request has no caller even if its signature is valid, because the signature is not checked.
    let mut request = signed(get("/health?deep="));
    request.headers_mut().insert("x-anything", "1".parse().unwrap());
    request.headers_mut().get_mut("x-sign").unwrap().set_sensitive(false);
    let headers = request.headers().clone();
    let trailers = HeaderMap::from_iter([(http::HeaderName::from_static("x-sum"), "1".parse().unwrap())]);
    let frames = [Ok::<_, std::io::Error>(Frame::data(Bytes::from("body"))), Ok(Frame::trailers(trailers.clone()))];
    let request = request.map(|_| UnverifiedBody::new(StreamBody::new(futures_util::stream::iter(frames))));
    let request = open_health().verify(request).await.unwrap();
    assert!(request.extensions().get::<Caller>().is_none());
    assert_eq!(request.uri(), "/health?deep=");
    assert_eq!(request.headers(), &headers);
    assert!(request.headers()["x-sign"].is_sensitive(), "the signature stays out of logs");
    let collected = request.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers(), Some(&trailers));
    assert_eq!(collected.to_bytes(), "body");
}

#[tokio::test]
async fn override_headers_are_removed_from_bypassed_requests() {
    let mut request = get("/health");
    for name in ["x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url"] {
        request.headers_mut().insert(name, "/orders".parse().unwrap());
    }
    let request = open_health().verify(incoming(request)).await.unwrap();
    assert!(request.headers().is_empty(), "{:?}", request.headers());
}

#[tokio::test]
async fn bypassed_response_keeps_its_cache_control() {
    let service = open_health()
        .into_layer()
        .layer(service_fn(async |_| Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::default()))));
    let bypassed = service.clone().oneshot(incoming(get("/health"))).await.unwrap();
    assert!(!bypassed.headers().contains_key("cache-control"));
    let verified = service.oneshot(incoming(signed(get("/orders")))).await.unwrap();
    assert_eq!(verified.headers()["cache-control"], "private");
}

#[tokio::test]
async fn bypass_keeps_axum_body_and_size_hint() {
    let request = Request::get("/health").body(axum::body::Body::from("axum")).unwrap();
    let request = open_health().verify(request).await.unwrap();
    assert_eq!(rig::bytes(request.into_body()).await, "axum");
    let request = Request::get("/health").body(UnverifiedBody::new(Full::new(Bytes::from("four")))).unwrap();
    assert_eq!(open_health().verify(request).await.unwrap().body().size_hint().exact(), Some(4));
}

#[tokio::test]
async fn panicking_bypass_bypasses_nothing() {
    let verifier = verifier().0.with_insecure_bypass(|_, _| panic!("the service's bypass panicked"));
    assert_eq!(code(&verifier, get("/health")).await, "unsigned");
    assert_eq!(code(&verifier, signed(get("/health"))).await, "accepted");
}

#[tokio::test]
async fn nested_bypass_gets_the_original_target() {
    for (covered, status) in [("/api/health", 200), ("/health", 401)] {
        let verifier = verifier().0.with_insecure_bypass(move |_, uri| uri.path() == covered);
        let inner = axum::Router::new().route("/health", axum::routing::get(async || "well"));
        let app = axum::Router::new().nest("/api", inner.layer(verifier.into_layer()));
        let response = app.oneshot(get("/api/health").map(axum::body::Body::from)).await.unwrap();
        assert_eq!(response.status(), status, "{covered}");
    }
}
