//! Only responses to requests that passed step 8 are signed, with the key that signed the request.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use countersign::{
    App, AppId, Scheme, Secret, Signer, Verifier,
    clock::ManualClock,
    danger::ReportOnlyLayer,
    server::Links,
    store::{KeyStore, MemoryNonceStore, MemoryTokenStore, NonceClaim, NonceStatus, NonceStore, Retention, StoreError},
    token::{NewToken, Tokens},
};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use tower::{Layer, Service, ServiceExt};

use super::{Received, responding, send, send_signed, signing};
use crate::rig::{self, NOW, signed, signed_by, signer};

fn service() -> Router {
    signing(rig::verifier().0, responding(|| Response::new(Body::from("ok"))))
}

/// A body that takes 6 seconds.
fn slow_body(clock: ManualClock, bytes: &'static [u8]) -> Body {
    Body::new(StreamBody::new(futures_util::stream::once(async move {
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(6));
        Ok::<_, Infallible>(Frame::data(Bytes::from_static(bytes)))
    })))
}

async fn send_slowly(service: &Router, clock: &ManualClock, signer: &Signer) -> Received {
    let request = signed_by(signer, NOW, rig::post("/", "text/plain", "hello"));
    send_signed(service, signer, request.map(|body| slow_body(clock.clone(), body.as_bytes()))).await
}

#[tokio::test]
async fn refusals_before_step_8_are_unsigned() {
    let service = service();
    let changed = |edit: fn(&mut http::HeaderMap)| {
        let mut request = signed(rig::get("/"));
        edit(request.headers_mut());
        request
    };
    let cases = [
        (
            "invalid_signature",
            signed_by(&Signer::new("demo".parse().unwrap(), Secret::new("f".repeat(32)).unwrap()), NOW, rig::get("/")),
        ),
        ("stale_timestamp", signed_by(&signer(), NOW - 301, rig::get("/"))),
        ("malformed_field", changed(|headers| _ = headers.append("x-nonce", "nonce-2".parse().unwrap()))),
    ];
    for (code, request) in cases {
        let response = service.clone().oneshot(request.map(Body::from)).await.unwrap();
        assert_eq!(response.headers()["x-error-code"], code);
        assert!(!response.headers().keys().any(|name| name.as_str().starts_with("x-response-")), "{code}");
    }
}

#[tokio::test]
async fn replayed_request_gets_an_unsigned_refusal() {
    let (service, request) = (service(), signed(rig::get("/")));
    let first = send_signed(&service, &signer(), request.clone()).await;
    first.check().unwrap();
    let replay = send_signed(&service, &signer(), request).await;
    assert_eq!((replay.code(), replay.is_signed()), ("replayed_nonce", false));
}

#[tokio::test]
async fn responses_of_two_requests_cannot_be_swapped() {
    let service = service();
    let (one, mut other) = (send(&service, rig::get("/")).await, send(&service, rig::get("/")).await);
    one.check().unwrap();
    other.sent = one.sent;
    assert!(other.check().is_err());
}

#[tokio::test]
async fn refusal_of_a_body_is_signed() {
    let service = service();
    let request = signed(rig::post("/", "text/plain", "hello")).map(|_| "other");
    let refused = send_signed(&service, &signer(), request).await;
    assert_eq!(refused.code(), "body_mismatch");
    refused.check().unwrap();
}

#[tokio::test]
async fn refusal_of_a_streamed_body_is_signed() {
    let service = signing(
        rig::verifier().0.with_streamed_bodies(),
        Router::new().route("/", axum::routing::post(|body: String| async { body })),
    );
    let request = signed(rig::post("/", "text/plain", "hello")).map(|_| "other");
    let refused = send_signed(&service, &signer(), request).await;
    assert_eq!(refused.code(), "body_mismatch");
    refused.check().unwrap();
    send(&service, rig::post("/", "text/plain", "hello")).await.check().unwrap();
}

/// Keys that can be taken away.
#[derive(Clone)]
struct Keys(Arc<Mutex<Result<Option<App>, &'static str>>>);

impl Keys {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Ok(Some(App::new(rig::secret()))))))
    }
}

impl KeyStore for Keys {
    async fn keys(&self, _: &AppId) -> Result<Option<App>, StoreError> {
        self.0.lock().unwrap().clone().map_err(StoreError::new)
    }
}

#[tokio::test]
async fn key_retired_while_a_body_arrives_signs_nothing() {
    for (later, code) in [(Ok(None), "invalid_signature"), (Err("down"), "unavailable")] {
        let (keys, clock) = (Keys::new(), ManualClock::at(NOW));
        let service = signing(
            Verifier::new(keys.clone()).with_clock(clock.clone()),
            responding(|| Response::new(Body::from("ok"))),
        );
        send_slowly(&service, &clock, &signer()).await.check().unwrap();
        let request = signed(rig::post("/", "text/plain", "hello"));
        let body = Body::new(StreamBody::new(futures_util::stream::once(async move {
            tokio::task::yield_now().await;
            clock.advance(Duration::from_secs(6));
            *keys.0.lock().unwrap() = later;
            Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"hello")))
        })));
        let refused = send_signed(&service, &signer(), request.map(|_| body)).await;
        assert_eq!((refused.code(), refused.is_signed()), (code, false));
    }
}

/// A persistent nonce store whose claims take this many seconds, and then do something.
#[derive(Clone)]
struct Persistent {
    clock: ManualClock,
    seconds: u64,
    then: Arc<dyn Fn() + Send + Sync>,
    nonces: Arc<MemoryNonceStore>,
}

impl NonceStore for Persistent {
    async fn claim(&self, claim: &NonceClaim<'_>, retention: Retention) -> Result<NonceStatus, StoreError> {
        self.clock.advance(Duration::from_secs(self.seconds));
        (self.then)();
        self.nonces.claim(claim, retention).await
    }

    fn is_persistent(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn key_retired_while_the_nonce_is_claimed_signs_nothing() {
    let (keys, clock) = (Keys::new(), ManualClock::at(NOW));
    let retire = keys.clone();
    let nonces = Persistent {
        clock: clock.clone(),
        seconds: 6,
        then: Arc::new(move || *retire.0.lock().unwrap() = Ok(None)),
        nonces: Arc::default(),
    };
    let verifier = Verifier::new(keys).with_nonces(nonces).with_clock(clock);
    let refused = send(&signing(verifier, responding(|| Response::new(Body::from("ok")))), rig::get("/")).await;
    assert_eq!((refused.code(), refused.is_signed()), ("invalid_signature", false));
}

fn tokens(clock: &ManualClock) -> Tokens {
    Tokens::new(MemoryTokenStore::new().unwrap()).with_clock(clock.clone()).with_session_keys()
}

fn user() -> NewToken {
    NewToken::for_user("u-17".parse().unwrap())
}

#[tokio::test]
async fn spent_token_gets_a_signed_refusal() {
    let (verifier, clock) = rig::verifier();
    let tokens = tokens(&clock);
    // The second request finds the token live at step 7, and the first one spends it before step 9b.
    let issued = tokens.issue_for(&"demo".parse().unwrap(), user().one_time()).await.unwrap();
    let service = signing(verifier.with_tokens(tokens), responding(|| Response::new(Body::from("ok"))));
    let signer = signer().with_token(issued.token().clone());
    let (first, second) = (rig::post("/", "text/plain", "hello"), rig::post("/", "text/plain", "hello"));
    let second = signed_by(&signer, NOW, second).map(|body| {
        Body::new(StreamBody::new(futures_util::stream::once(async move {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            Ok::<_, Infallible>(Frame::data(Bytes::from_static(body.as_bytes())))
        })))
    });
    let (second, first) = futures_util::future::join(
        send_signed(&service, &signer, second),
        send_signed(&service, &signer, signed_by(&signer, NOW, first)),
    )
    .await;
    first.check_with(&signer).unwrap();
    assert_eq!(second.code(), "invalid_token");
    second.check_with(&signer).unwrap();
}

#[tokio::test]
async fn token_that_ended_while_a_body_arrived_signs_nothing() {
    let (verifier, clock) = rig::verifier();
    let tokens = tokens(&clock);
    let issued = tokens.issue_for(&"demo".parse().unwrap(), user()).await.unwrap();
    let service = signing(verifier.with_tokens(tokens.clone()), responding(|| Response::new(Body::from("ok"))));
    let signer = signer().with_token(issued.token().clone());
    let request = signed_by(&signer, NOW, rig::post("/", "text/plain", "hello"));
    let body = Body::new(StreamBody::new(futures_util::stream::once(async move {
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(6));
        tokens.end(issued.session()).await.unwrap();
        Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"hello")))
    })));
    let refused = send_signed(&service, &signer, request.map(|_| body)).await;
    assert_eq!((refused.code(), refused.is_signed()), ("invalid_token", false));
}

#[tokio::test]
async fn ended_token_at_step_7_gets_an_unsigned_refusal() {
    // Both paths: the token and the nonce one after the other, and together in a shared store.
    for is_shared in [false, true] {
        let clock = ManualClock::at(NOW);
        let tokens = tokens(&clock);
        let issued = tokens.issue_for(&"demo".parse().unwrap(), user()).await.unwrap();
        let signer = signer().with_token(issued.token().clone());
        let verifier = Verifier::new(rig::keys()).with_tokens(tokens.clone());
        let respond = || responding(|| Response::new(Body::from("ok")));
        let service = match is_shared {
            false => signing(verifier.with_clock(clock.clone()), respond()),
            true => {
                let nonces =
                    Persistent { clock: clock.clone(), seconds: 0, then: Arc::new(|| ()), nonces: Arc::default() };
                signing(verifier.with_nonces(nonces).with_clock(clock.clone()), respond())
            }
        };
        send_signed(&service, &signer, signed_by(&signer, NOW, rig::get("/"))).await.check_with(&signer).unwrap();
        tokens.end(issued.session()).await.unwrap();
        let refused = send_signed(&service, &signer, signed_by(&signer, NOW, rig::get("/"))).await;
        assert_eq!((refused.code(), refused.is_signed()), ("invalid_token", false), "{is_shared}");
    }
}

#[tokio::test]
async fn session_key_signs_the_response_to_its_request() {
    let (verifier, clock) = rig::verifier();
    let tokens = tokens(&clock);
    let issued = tokens.issue_for(&"demo".parse().unwrap(), user()).await.unwrap();
    let scheme = Scheme::new().with_audience("api.example.com").unwrap();
    let service = signing(
        verifier.with_scheme(scheme.clone()).with_tokens(tokens),
        responding(|| Response::new(Body::from("ok"))),
    );
    let ring = countersign::KeyRing::from(rig::secret());
    let key: Secret = issued.session_key(&ring, "api.example.com").unwrap().into();
    let session = Signer::for_session("demo".parse().unwrap(), issued.token().clone(), key);
    let session = session.with_scheme(scheme.clone());
    let received = send_signed(&service, &session, signed_by(&session, NOW, rig::get("/"))).await;
    received.check_with(&session).unwrap();
    let app_key = rig::signer_of(scheme).with_token(issued.token().clone());
    assert!(received.check_with(&app_key).is_err(), "the app's key did not sign it");
    let received = send_signed(&service, &app_key, signed_by(&app_key, NOW, rig::get("/"))).await;
    received.check_with(&app_key).unwrap();
}

#[tokio::test]
async fn second_key_of_an_app_signs_its_response() {
    let next = Secret::new("fedcba9876543210fedcba9876543210").unwrap();
    let ring = countersign::KeyRing::new([rig::secret(), next.clone()]).unwrap();
    let keys = countersign::StaticKeys::new([("demo".parse().unwrap(), ring)]).unwrap();
    let verifier = Verifier::new(keys).with_clock(ManualClock::at(NOW));
    let service = signing(verifier, responding(|| Response::new(Body::from("ok"))));
    let signer = Signer::new("demo".parse().unwrap(), next);
    let received = send_signed(&service, &signer, signed_by(&signer, NOW, rig::get("/"))).await;
    received.check_with(&signer).unwrap();
    assert!(received.check().is_err());
}

#[tokio::test]
async fn links_and_bypassed_requests_get_unsigned_responses() {
    let verifier = rig::verifier().0.with_links(Links::new());
    let verifier = verifier.with_insecure_bypass(|_, uri| uri.path() == "/health");
    let respond = || async { "ok" };
    let service = signing(verifier, Router::new().route("/a", get(respond)).route("/health", get(respond)));
    let (signer, uri) = (signer().with_clock(ManualClock::at(NOW)), "/a".parse().unwrap());
    let link = signer.presign(&uri, Duration::from_secs(60)).sign().unwrap().to_string();
    for target in [&*link, "/health"] {
        let request = Request::get(target).header("x-response-sign", "a").body(Body::empty()).unwrap();
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(!response.headers().contains_key("x-response-sign"), "{target}");
    }
}

/// Sends a request again after the first response, without this header.
#[derive(Clone)]
struct SendTwice<S>(S, &'static str);

impl<S> Service<Request<Body>> for SendTwice<S>
where
    S: Service<Request<Body>, Future: Send, Response: Send, Error: Send> + Clone + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (inner, without) = (self.0.clone(), self.1);
        Box::pin(async move {
            let (mut parts, _) = request.into_parts();
            inner.clone().oneshot(Request::from_parts(parts.clone(), Body::empty())).await?;
            parts.headers.remove(without);
            inner.oneshot(Request::from_parts(parts, Body::empty())).await
        })
    }
}

#[tokio::test]
async fn retry_layer_in_between_leaves_no_key() {
    // The second attempt fails at step 8, and at step 1.
    for (without, code) in [("x-other", "replayed_nonce"), ("x-nonce", "missing_field")] {
        let verifier = rig::verifier().0;
        let layer = countersign::SignResponsesLayer::new(verifier.scheme()).unwrap();
        let service = responding(|| Response::new(Body::from("ok")))
            .layer(verifier.into_layer())
            .layer(tower::layer::layer_fn(move |inner| SendTwice(inner, without)))
            .layer(layer);
        let received = send(&service, rig::get("/")).await;
        assert_eq!((received.code(), received.is_signed()), (code, false));
    }
}

#[tokio::test]
async fn report_only_layer_keeps_the_rules() {
    let verifier = rig::verifier().0;
    let sign = countersign::SignResponsesLayer::new(verifier.scheme()).unwrap();
    let service = responding(|| Response::new(Body::from("ok")));
    let service = service.layer(ReportOnlyLayer::new(verifier, |_, _| ())).layer(sign);
    send(&service, rig::get("/")).await.check().unwrap();
    let stale = send_signed(&service, &signer(), signed_by(&signer(), NOW - 301, rig::get("/"))).await;
    assert_eq!((stale.parts.status.as_u16(), stale.is_signed()), (200, false));
}

#[tokio::test]
async fn service_finds_no_key_in_its_request() {
    let verifier = rig::verifier().0;
    let sign = countersign::SignResponsesLayer::new(verifier.scheme()).unwrap();
    let found = Arc::new(AtomicUsize::new(usize::MAX));
    let count = found.clone();
    let inner = tower::service_fn(move |request: axum::extract::Request| {
        count.store(request.extensions().len(), SeqCst);
        async { Ok::<_, Infallible>(Response::new(Body::from("ok"))) }
    });
    let service = sign.layer(verifier.into_layer().layer(inner));
    let request = signed(rig::get("/")).map(Body::from);
    assert!(service.oneshot(request).await.unwrap().headers().contains_key("x-response-sign"));
    assert_eq!(found.load(SeqCst), 1, "the caller, and nothing else");
}
