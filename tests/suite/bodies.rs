//! Bodies: the service reads exactly the signed bytes, or none.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use countersign::{Limits, server::UnverifiedBody};
use http::{HeaderMap, Request};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full, StreamBody};

use crate::rig::{self, form, form_without_digest, get, post, signed, verifier};

type Frames = Vec<Result<Frame<Bytes>, std::io::Error>>;

fn frames(frames: Frames) -> UnverifiedBody {
    UnverifiedBody::new(StreamBody::new(futures_util::stream::iter(frames)))
}

fn data(text: &'static str) -> Result<Frame<Bytes>, std::io::Error> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

fn trailers() -> Result<Frame<Bytes>, std::io::Error> {
    Ok(Frame::trailers(HeaderMap::from_iter([(http::HeaderName::from_static("x-token"), "evil".parse().unwrap())])))
}

async fn code(request: Request<UnverifiedBody>) -> &'static str {
    let result = verifier().0.with_limits(small_limits()).verify(request).await;
    result.map_or_else(|rejection| rejection.kind().code(), |_| "accepted")
}

fn small_limits() -> Limits {
    Limits::new().with_body(100).with_form(50)
}

#[tokio::test]
async fn changed_body_is_rejected() {
    for body in ["", "{\"a\":2}", "{\"a\":1", "{\"a\":1} ", "{\"a\":1}{\"a\":1}"] {
        let mut request = signed(post("/", "application/json", "{\"a\":1}"));
        *request.body_mut() = body;
        assert_eq!(rig::code(&verifier().0, request).await, "body_mismatch", "{body:?}");
    }
    let mut form = signed(form("/", "a=1&b="));
    *form.body_mut() = "a=1&b=&c=";
    assert_eq!(rig::code(&verifier().0, form).await, "body_mismatch", "the digest covers empty parameters");
}

#[tokio::test]
async fn content_type_is_signed() {
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx"] {
        let mut request = signed(post("/", "application/json", "a=1"));
        request.headers_mut().insert("content-type", content_type.parse().unwrap());
        assert_eq!(rig::code(&verifier().0, request).await, "invalid_signature", "{content_type}");
    }
    let mut request = signed(post("/", "multipart/form-data; boundary=a", "--a--"));
    request.headers_mut().insert("content-type", "multipart/form-data; boundary=b".parse().unwrap());
    assert_eq!(rig::code(&verifier().0, request).await, "invalid_signature");
    let mut encoded = form_without_digest("/", "a=1");
    encoded.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
    assert_eq!(rig::code(&verifier().0, encoded).await, "invalid_signature", "an encoded form is not a form");
}

#[tokio::test]
async fn body_without_digest_is_rejected() {
    for method in ["GET", "POST", "DELETE"] {
        let mut request = signed(Request::builder().method(method).uri("/").body("").unwrap());
        *request.body_mut() = "x";
        let rejection = rig::verify(&verifier().0, request).await.unwrap_err();
        assert_eq!(
            (rejection.kind().code(), rejection.field()),
            ("missing_field", Some("x-content-sha256")),
            "{method}"
        );
    }
    let late = frames(vec![data(""), data(""), trailers(), data("x")]);
    assert_eq!(code(signed(get("/")).map(|_| late)).await, "missing_field");
    let nothing = frames(vec![data(""), trailers()]);
    assert_eq!(code(signed(get("/")).map(|_| nothing)).await, "accepted");
}

#[tokio::test]
async fn frames_are_joined_and_trailers_dropped() {
    let request = signed(post("/", "text/plain", "one two"));
    let body = frames(vec![data("one"), data(""), data(" two"), trailers()]);
    let verified = verifier().0.verify(request.map(|_| body)).await.unwrap();
    let collected = verified.into_body().collect().await.unwrap();
    assert!(collected.trailers().is_none());
    assert_eq!(collected.to_bytes(), "one two");
}

#[tokio::test]
async fn interrupted_body_is_malformed() {
    let broken = || frames(vec![data("one"), Err(std::io::ErrorKind::ConnectionReset.into())]);
    let rejection =
        verifier().0.verify(signed(post("/", "text/plain", "one two")).map(|_| broken())).await.unwrap_err();
    assert_eq!((rejection.kind().status().as_u16(), rejection.field()), (400, Some("body")));
    let source = std::error::Error::source(&rejection).unwrap().to_string();
    assert!(source.contains("reset"), "{source}");
    assert_eq!(code(signed(form("/", "one")).map(|_| broken())).await, "malformed_field");
    let early = frames(vec![Err(std::io::ErrorKind::ConnectionReset.into())]);
    assert_eq!(code(signed(get("/")).map(|_| early)).await, "malformed_field");
}

#[tokio::test]
async fn body_beyond_the_limit_is_rejected() {
    let body = |n: usize| "x".repeat(n);
    let sent = |content_type: &str, n| {
        let request = Request::post("/").header("content-type", content_type).body(body(n)).unwrap();
        let mut request = signed(request);
        request.headers_mut().insert("content-length", n.into());
        request
    };
    const FORM: &str = "application/x-www-form-urlencoded";
    for (content_type, n, expected) in [
        ("text/plain", 100, "accepted"),
        ("text/plain", 101, "body_too_large"),
        (FORM, 50, "accepted"),
        (FORM, 51, "body_too_large"),
    ] {
        let whole = |body: String| UnverifiedBody::new(Full::new(Bytes::from(body)));
        assert_eq!(code(sent(content_type, n).map(whole)).await, expected, "{n} of {content_type}");
        let chunked = |body: String| {
            let chunks =
                body.into_bytes().chunks(7).map(|chunk| Ok(Frame::data(Bytes::from(chunk.to_vec())))).collect();
            frames(chunks)
        };
        let mut request = sent(content_type, n).map(chunked);
        request.headers_mut().remove("content-length");
        assert_eq!(code(request).await, expected, "{n} of {content_type} in chunks");
    }
    for length in ["-1", "+1", "1 2", "1,1", "", "99999999999999999999"] {
        let mut request = sent("text/plain", 1);
        request.headers_mut().insert("content-length", length.parse().unwrap());
        assert_eq!(rig::code(&verifier().0, request).await, "malformed_field", "{length}");
    }
}

#[tokio::test]
async fn declared_length_is_checked_before_the_signature() {
    for (content_type, fits) in [("text/plain", 100), ("application/x-www-form-urlencoded", 50)] {
        for (length, expected) in [(fits, "invalid_signature"), (fits + 1, "body_too_large")] {
            let mut forged = signed(post("/", content_type, "a=1"));
            forged.headers_mut().insert("x-sign", "0".repeat(64).parse().unwrap());
            forged.headers_mut().insert("content-length", length.into());
            let unread = forged.map(|_| frames(vec![data("a=1")]));
            assert_eq!(code(unread).await, expected, "{length} of {content_type}");
        }
    }
}

#[tokio::test]
async fn smaller_limit_applies_to_a_form() {
    let limits = small_limits().with_form(1000);
    let verifier = verifier().0.with_limits(limits);
    let request = signed(form("/", "a=1").map(|_| format!("a={}", "x".repeat(100))));
    assert_eq!(rig::code(&verifier, request).await, "body_too_large");
}

/// An endless body that counts how often it is polled.
struct CountingBody(Arc<AtomicUsize>);

impl Body for CountingBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Some(data("xxxxxxxxxx")))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// Sends a request with an endless body. Returns the code and the number of polls.
async fn count_polls(request: Request<&'static str>) -> (&'static str, usize) {
    let polls = Arc::new(AtomicUsize::new(0));
    let code = code(request.map(|_| UnverifiedBody::new(CountingBody(polls.clone())))).await;
    (code, polls.load(Ordering::Relaxed))
}

#[tokio::test]
async fn body_of_a_rejected_request_is_not_read() {
    let json = || signed(post("/", "application/json", "{}"));
    let mut unsigned = json();
    unsigned.headers_mut().remove("x-sign");
    let mut forged = json();
    forged.headers_mut().insert("x-sign", "0".repeat(64).parse().unwrap());
    let mut stale = json();
    stale.headers_mut().insert("x-timestamp", "1600000000".parse().unwrap());
    let mut stale_form = signed(form("/", "a=1"));
    stale_form.headers_mut().insert("x-timestamp", "1600000000".parse().unwrap());
    for (request, code) in [
        (unsigned, "missing_field"),
        (forged, "invalid_signature"),
        (stale, "stale_timestamp"),
        (stale_form, "stale_timestamp"),
    ] {
        assert_eq!(count_polls(request).await, (code, 0));
    }
    assert_eq!(count_polls(json()).await, ("body_too_large", 11), "an authentic body is read up to its limit");
    assert_eq!(
        count_polls(signed(form("/", "a=1"))).await,
        ("body_too_large", 6),
        "a form is read up to its own limit"
    );
    assert_eq!(
        count_polls(signed(get("/"))).await,
        ("missing_field", 1),
        "a body without digest is read to its first byte"
    );
}

#[tokio::test]
async fn body_of_a_replay_is_not_read() {
    let (verifier, _) = verifier();
    let request = signed(post("/", "text/plain", "x"));
    assert_eq!(rig::code(&verifier, request.clone()).await, "accepted");
    let polls = Arc::new(AtomicUsize::new(0));
    let replay = request.map(|_| UnverifiedBody::new(CountingBody(polls.clone())));
    assert_eq!(verifier.verify(replay).await.unwrap_err().kind().code(), "replayed_nonce");
    assert_eq!(polls.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn outer_body_limit_returns_413() {
    let limited = http_body_util::Limited::new(Full::new(Bytes::from("four")), 3);
    let request = signed(post("/", "text/plain", "four"));
    assert_eq!(code(request.map(|_| UnverifiedBody::new(limited))).await, "body_too_large");
    let limited = http_body_util::Limited::new(Full::new(Bytes::from("four")), 3);
    let wrapped = axum::body::Body::new(limited);
    let request = signed(post("/", "text/plain", "four"));
    let rejection = verifier().0.verify(request.map(|_| wrapped)).await.unwrap_err();
    assert_eq!(rejection.kind().code(), "body_too_large", "the error is wrapped once more");
}
