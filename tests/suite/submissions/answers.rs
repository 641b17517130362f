//! What is stored of an answer, and what a client gets of it again.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use axum::body::Body;
use bytes::Bytes;
use countersign::{server::ServiceBody, submission::SubmitOnceLayer};
use futures_util::stream;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use tower::{Layer, ServiceExt, service_fn};

use super::shop::{by_key, submission, verifier};

type Frame = Result<http_body::Frame<Bytes>, std::io::Error>;

/// A service whose answers are made by this closure, behind the layers. Counts its runs.
struct Rig<F> {
    layer: SubmitOnceLayer,
    make: F,
    runs: Arc<AtomicUsize>,
}

impl<F: Fn() -> Response<Body> + Clone + Send + Sync + 'static> Rig<F> {
    fn new(make: F) -> Self {
        Self { layer: by_key(), make, runs: Arc::default() }
    }

    async fn send(&self) -> Response<impl http_body::Body<Data = Bytes, Error = axum::Error> + use<F>> {
        let (make, runs) = (self.make.clone(), self.runs.clone());
        let service = service_fn(move |_: Request<ServiceBody>| {
            runs.fetch_add(1, SeqCst);
            let response = make();
            async move { Ok::<_, Infallible>(response) }
        });
        let service = verifier().into_layer().layer(self.layer.layer(service));
        service.oneshot(crate::rig::incoming(submission("/", "k", ""))).await.unwrap()
    }

    /// The first answer is complete, and the second one is a 409 with the first status.
    async fn assert_only_head_is_stored(&self, body: &str) {
        let first = self.send().await;
        let status = first.status().as_u16();
        assert_eq!(first.into_body().collect().await.unwrap().to_bytes(), body);
        let again = self.send().await;
        assert_eq!(
            (again.status().as_u16(), &again.headers()["x-error-code"]),
            (409, &"duplicate_submission".parse().unwrap())
        );
        let problem: serde_json::Value =
            serde_json::from_slice(&again.into_body().collect().await.unwrap().to_bytes()).unwrap();
        assert_eq!(problem["first_status"], status);
        assert_eq!(self.runs.load(SeqCst), 1);
    }

    async fn assert_replayed(&self, body: &str) -> HeaderMap {
        let first = self.send().await;
        assert_eq!(first.headers()["idempotency-replayed"], "false");
        assert_eq!(first.into_body().collect().await.unwrap().to_bytes(), body);
        let again = self.send().await;
        assert_eq!(again.headers()["idempotency-replayed"], "true");
        let headers = again.headers().clone();
        assert_eq!(again.into_body().collect().await.unwrap().to_bytes(), body);
        assert_eq!(self.runs.load(SeqCst), 1);
        headers
    }
}

fn frames(frames: impl IntoIterator<Item = Frame>) -> Body {
    Body::new(StreamBody::new(stream::iter(frames.into_iter().collect::<Vec<_>>())))
}

fn data(text: impl Into<Bytes>) -> Frame {
    Ok(http_body::Frame::data(text.into()))
}

#[tokio::test]
async fn answers_up_to_the_limit_are_stored() {
    let text = "x".repeat(64 * 1024);
    let body = text.clone();
    Rig::new(move || Response::new(body.clone().into())).assert_replayed(&text).await;
    let text = "x".repeat(64 * 1024 + 1);
    let body = text.clone();
    Rig::new(move || Response::new(body.clone().into())).assert_only_head_is_stored(&text).await;
    let mut small = Rig::new(|| Response::new("four".into()));
    small.layer = small.layer.with_max_stored(3);
    small.assert_only_head_is_stored("four").await;
}

#[tokio::test]
async fn streamed_answers_are_stored_up_to_the_limit() {
    let pieces = |count: usize| move || Response::new(frames((0..count).map(|_| data("x".repeat(16)))));
    Rig::new(pieces(4096)).assert_replayed(&"x".repeat(64 * 1024)).await;
    Rig::new(pieces(5000)).assert_only_head_is_stored(&"x".repeat(16 * 5000)).await;
    Rig::new(|| Response::new(frames([]))).assert_replayed("").await;
    Rig::new(|| Response::new(frames([data(""), data("one"), data(""), data("two")]))).assert_replayed("onetwo").await;
}

#[tokio::test]
async fn answers_for_one_reader_are_not_stored() {
    for (name, value) in [
        ("set-cookie", "session=1"),
        ("cache-control", "no-store"),
        ("cache-control", "private, No-Store"),
        ("cache-control", "x=\"unterminated"),
        ("content-type", "text/event-stream"),
        ("content-type", "Text/Event-Stream ; charset=utf-8"),
    ] {
        let response = move || Response::builder().header(name, value).body("token".into()).unwrap();
        Rig::new(response).assert_only_head_is_stored("token").await;
    }
    for value in ["no-cache", "private", "max-age=60"] {
        let response = move || Response::builder().header("cache-control", value).body("text".into()).unwrap();
        Rig::new(response).assert_replayed("text").await;
    }
}

#[tokio::test]
async fn trailers_reach_the_caller_and_are_not_stored() {
    let trailers = || HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
    let rig = Rig::new(move || Response::new(frames([data("text"), Ok(http_body::Frame::trailers(trailers()))])));
    let first = rig.send().await.into_body().collect().await.unwrap();
    assert_eq!(first.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(first.to_bytes(), "text");
    assert_eq!(rig.send().await.status(), 409);
}

#[tokio::test]
async fn body_that_breaks_off_is_done_and_not_stored() {
    let rig = Rig::new(|| Response::new(frames([data("half"), Err(std::io::Error::other("cut"))])));
    let mut first = rig.send().await.into_body();
    let frame = std::pin::Pin::new(&mut first).frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "half");
    assert!(std::pin::Pin::new(&mut first).frame().await.unwrap().is_err());
    assert_eq!(rig.send().await.headers()["x-error-code"], "duplicate_submission");
    assert_eq!(rig.runs.load(SeqCst), 1);
}

#[tokio::test]
async fn switched_protocol_is_done_and_not_stored() {
    Rig::new(|| Response::builder().status(101).body(Body::empty()).unwrap()).assert_only_head_is_stored("").await;
}

#[tokio::test]
async fn event_stream_begins_before_its_end() {
    let rig = Rig::new(|| {
        let events = stream::once(async { Ok::<_, std::io::Error>(Bytes::from("data: 1\n\n")) });
        let endless = futures_util::StreamExt::chain(events, stream::pending());
        Response::builder().header("content-type", "text/event-stream").body(Body::from_stream(endless)).unwrap()
    });
    let mut first = rig.send().await.into_body();
    assert_eq!(std::pin::Pin::new(&mut first).frame().await.unwrap().unwrap().into_data().unwrap(), "data: 1\n\n");
    assert_eq!(rig.send().await.headers()["x-error-code"], "duplicate_submission");
}

#[tokio::test]
async fn replay_has_only_headers_that_still_hold() {
    let kept = [
        ("content-type", "text/plain"),
        ("location", "/payments/1"),
        ("etag", "\"1\""),
        ("x-several", "1"),
        ("x-several", "2"),
        ("date-of-order", "today"),
    ];
    let left_out = [
        ("date", "Tue, 14 Nov 2023 22:13:20 GMT"),
        ("content-length", "4"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("access-control-allow-origin", "https://one.example"),
        ("x-request-id", "1"),
        ("ratelimit-remaining", "9"),
        ("ratelimit-policy", "10"),
        ("x-ratelimit-remaining", "9"),
    ];
    let rig = Rig::new(move || {
        let response = kept
            .iter()
            .chain(&left_out)
            .fold(Response::builder().status(201), |response, (name, value)| response.header(*name, *value));
        response.header("idempotency-replayed", "of an upstream").body("text".into()).unwrap()
    });
    let headers = rig.assert_replayed("text").await;
    for (name, _) in kept {
        let values: Vec<_> = kept.iter().filter(|(other, _)| *other == name).map(|(_, value)| *value).collect();
        assert_eq!(headers.get_all(name).iter().collect::<Vec<_>>(), values, "{name}");
    }
    for (name, _) in left_out {
        assert!(!headers.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn replay_keeps_the_status_and_raw_bytes() {
    let value = http::HeaderValue::from_bytes(b"caf\xe9").unwrap();
    let rig = Rig::new(move || {
        let body = Body::from(vec![0, 255, 10]);
        Response::builder().status(207).header("x-bytes", value.clone()).body(body).unwrap()
    });
    rig.send().await;
    let again = rig.send().await;
    assert_eq!((again.status().as_u16(), again.headers()["x-bytes"].as_bytes()), (207, &b"caf\xe9"[..]));
    assert_eq!(again.into_body().collect().await.unwrap().to_bytes(), vec![0, 255, 10]);
}
