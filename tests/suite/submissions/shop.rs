//! A shop that counts its runs, behind a verifier and the layer.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::StatusCode,
    response::{AppendHeaders, IntoResponse},
    routing::{any, post},
};
use bytes::Bytes;
use countersign::{
    Scheme, Signer, StaticKeys, Verifier,
    clock::ManualClock,
    store::MemorySubmissionStore,
    submission::{Submission, SubmitOnceLayer},
};
use http::{HeaderName, Request, Response};
use tokio::sync::Semaphore;
use tower::ServiceExt;

use crate::rig::{self, NOW, signed_by, signer_of};

pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A scheme that signs the key.
pub(super) fn scheme() -> Scheme {
    Scheme::new().with_signed_headers([IDEMPOTENCY_KEY]).unwrap()
}

pub(super) fn signer() -> Signer {
    signer_of(scheme())
}

pub(super) fn verifier() -> Verifier<StaticKeys> {
    rig::verifier().0.with_scheme(scheme()).with_fingerprints()
}

pub(super) fn by_key() -> SubmitOnceLayer {
    SubmitOnceLayer::by_key(&scheme()).unwrap()
}

/// A store in memory, and its clock.
pub(super) fn memory() -> (MemorySubmissionStore, ManualClock) {
    let clock = ManualClock::at(NOW);
    (MemorySubmissionStore::new().with_clock(clock.clone()), clock)
}

/// The service. Its routes count how often they run.
#[derive(Clone)]
pub(super) struct Shop {
    pub(super) runs: Arc<AtomicUsize>,
    /// `/gated` waits for a permit.
    pub(super) gate: Arc<Semaphore>,
}

impl Shop {
    pub(super) fn new() -> Self {
        Self { runs: Arc::default(), gate: Arc::new(Semaphore::new(0)) }
    }

    pub(super) fn runs(&self) -> usize {
        self.runs.load(SeqCst)
    }

    fn run(&self) -> usize {
        self.runs.fetch_add(1, SeqCst) + 1
    }

    /// The routes, without layers.
    pub(super) fn routes(&self) -> Router {
        Router::new()
            .route("/pay", post(pay))
            .route("/pay/{account}", post(pay))
            .route("/gated", post(gated))
            .route("/panic", post(panics))
            .route("/status/{code}", any(status))
            .with_state(self.clone())
    }

    /// The routes below the layer and the verifier.
    pub(super) fn router(&self, layer: &SubmitOnceLayer) -> Router {
        self.router_below(layer, verifier())
    }

    pub(super) fn router_below(&self, layer: &SubmitOnceLayer, verifier: Verifier<StaticKeys>) -> Router {
        self.routes().layer(layer.clone()).layer(verifier.into_layer())
    }
}

async fn pay(State(shop): State<Shop>, submission: Option<Submission>, order: Bytes) -> impl IntoResponse {
    let run = shop.run();
    let key = submission.as_ref().and_then(Submission::key).map_or("none", |key| key.as_str());
    let body = format!("run {run}, key {key}: {}", String::from_utf8_lossy(&order));
    (StatusCode::CREATED, AppendHeaders([("location", format!("/payments/{run}")), ("x-shop", "1".into())]), body)
}

async fn gated(State(shop): State<Shop>) -> String {
    let run = shop.run();
    shop.gate.acquire().await.unwrap().forget();
    format!("run {run}")
}

async fn panics(State(shop): State<Shop>) -> String {
    shop.run();
    panic!("the handler panics")
}

async fn status(State(shop): State<Shop>, Path(code): Path<u16>) -> (StatusCode, String) {
    (StatusCode::from_u16(code).unwrap(), format!("run {}", shop.run()))
}

/// An unsigned request with an idempotency key.
pub(super) fn request(path: &str, key: Option<&str>, body: &'static str) -> Request<&'static str> {
    let mut request = Request::post(path).header("content-type", "text/plain");
    if let Some(key) = key {
        request = request.header(IDEMPOTENCY_KEY, key);
    }
    request.body(body).unwrap()
}

/// A signed request with an idempotency key, and a fresh nonce each time.
pub(super) fn submission(path: &str, key: &str, body: &'static str) -> Request<&'static str> {
    signed_by(&signer(), NOW, request(path, Some(key), body))
}

/// What a client sees of an answer.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The code of a rejection, or an empty text.
    pub(super) code: String,
    /// `Idempotency-Replayed`, or an empty text.
    pub(super) replayed: String,
    pub(super) body: String,
    pub(super) headers: http::HeaderMap,
}

impl Answer {
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The status, and the code or whether it was stored.
    pub(super) fn brief(&self) -> (u16, &str) {
        (self.status, if self.code.is_empty() { &self.replayed } else { &self.code })
    }
}

pub(super) async fn send(router: &Router, request: Request<&'static str>) -> Answer {
    answer(respond(router, request).await).await
}

pub(super) async fn respond(router: &Router, request: Request<&'static str>) -> Response<Body> {
    let responded: Result<_, Infallible> = router.clone().oneshot(request.map(Body::from)).await;
    responded.unwrap()
}

pub(super) async fn answer(response: Response<Body>) -> Answer {
    let (parts, body) = response.into_parts();
    let text = |name: &str| parts.headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    Answer {
        status: parts.status.as_u16(),
        code: text("x-error-code"),
        replayed: text("idempotency-replayed"),
        headers: parts.headers.clone(),
        body: String::from_utf8(rig::bytes(body).await.to_vec()).unwrap(),
    }
}

/// Waits until the condition holds, without a fixed time.
pub(super) async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
