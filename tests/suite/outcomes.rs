//! Each request is reported to the observer exactly once, with its outcome.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use countersign::{
    AppId, FieldLocation, Limits, Rejection, Scheme, Secret, StaticKeys, Verifier,
    clock::ManualClock,
    danger::ReportOnlyLayer,
    server::{Decision, Outcome, ServiceBody, UnverifiedBody},
    store::{KeyStore, MemoryNonceStore, NonceClaim, NonceStatus, NonceStore, Retention, StoreError, key_fn},
};
use futures_util::FutureExt;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tower::{Layer, ServiceExt, service_fn};
use tracing::{
    Event, Metadata, Subscriber,
    span::{Attributes, Id, Record},
};

use crate::rig::{self, NOW, get, incoming, post, signed, signed_by, signer, verifier, verifier_on};

/// Collects outcomes as text.
#[derive(Clone, Default)]
pub(crate) struct OutcomeLog(Arc<Mutex<Vec<String>>>);

impl OutcomeLog {
    /// Logs code, app id and skew.
    fn of<K: KeyStore, N: NonceStore>(verifier: Verifier<K, N>) -> (Verifier<K, N>, Self) {
        Self::by(verifier, |outcome| {
            let (app_id, skew) = (outcome.claimed_app_id().map_or("-", AppId::as_str), outcome.skew());
            format!("{} {app_id} {}", outcome.code(), skew.map_or("-".to_owned(), |skew| skew.to_string()))
        })
    }

    pub(crate) fn by<K: KeyStore, N: NonceStore>(
        verifier: Verifier<K, N>,
        describe: impl Fn(&Outcome<'_>) -> String + Send + Sync + 'static,
    ) -> (Verifier<K, N>, Self) {
        let log = Self::default();
        let sink = log.clone();
        let observe = move |outcome: &Outcome<'_>| sink.push(describe(outcome));
        (verifier.with_observer(observe), log)
    }

    pub(crate) fn push(&self, describe: String) {
        self.0.lock().unwrap().push(describe);
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn with(mut request: Request<&'static str>, name: &'static str, value: &'static str) -> Request<&'static str> {
    match value {
        "" => drop(request.headers_mut().remove(name)),
        value => drop(request.headers_mut().insert(name, value.parse().unwrap())),
    }
    request
}

fn swapped() -> Request<&'static str> {
    let mut request = signed(post("/", "text/plain", "onetwo"));
    *request.body_mut() = "oneTWO";
    request
}

pub(crate) fn moved(target: &str) -> Request<&'static str> {
    let mut request = signed(get("/"));
    *request.uri_mut() = target.parse().unwrap();
    request
}

/// Requests, and the expected outcome of each.
pub(crate) fn table() -> Vec<(Request<&'static str>, &'static str)> {
    let replayed = signed(get("/"));
    vec![
        (signed(get("/")), "verified demo 0"),
        (signed_by(&signer(), NOW + 7, get("/")), "verified demo 7"),
        (signed_by(&signer(), NOW - 301, get("/")), "stale_timestamp demo -301"),
        (signed_by(&signer(), NOW + 301, get("/")), "stale_timestamp demo 301"),
        (with(signed(get("/")), "x-timestamp", "999999999999999999"), "stale_timestamp demo 999999998299999999"),
        (replayed.clone(), "verified demo 0"),
        (replayed, "replayed_nonce demo 0"),
        (swapped(), "body_mismatch demo 0"),
        (with(signed(get("/")), "x-app-id", "nobody"), "invalid_signature nobody 0"),
        (with(signed(get("/")), "x-app-id", "no app"), "malformed_field - 0"),
        (with(signed(get("/")), "x-timestamp", "soon"), "malformed_field demo -"),
        (with(signed(get("/")), "x-timestamp", ""), "missing_field demo -"),
        (with(signed(get("/")), "x-nonce", ""), "missing_field demo 0"),
        (with(signed(get("/")), "content-length", "ten"), "malformed_field demo 0"),
        (get("/"), "unsigned - -"),
        (moved("/?a=%zz"), "malformed_parameters demo 0"),
        (get("/health"), "bypassed - -"),
    ]
}

fn bypassing<N: NonceStore>(verifier: Verifier<StaticKeys, N>) -> Verifier<StaticKeys, N> {
    verifier.with_insecure_bypass(|_, uri| uri.path() == "/health")
}

async fn respond(request: Request<ServiceBody>) -> Result<Response<ServiceBody>, Infallible> {
    Ok(Response::new(request.into_body()))
}

#[tokio::test]
async fn each_request_has_one_outcome() {
    let (bare, log) = OutcomeLog::of(bypassing(verifier().0));
    for (request, expected) in table() {
        let _ = rig::verify(&bare, request).await;
        assert_eq!(log.take(), [expected]);
    }
}

#[tokio::test]
async fn both_layers_report_the_same_outcomes() {
    let describe = |outcome: &Outcome<'_>| format!("{} {}", outcome.code(), outcome.is_enforced());
    let (enforced, log) = OutcomeLog::by(bypassing(verifier().0), describe);
    let service = enforced.into_layer().layer(service_fn(respond));
    for (request, expected) in table() {
        service.clone().oneshot(incoming(request)).await.unwrap();
        assert_eq!(log.take(), [format!("{} true", expected.split(' ').next().unwrap())]);
    }
    let (report_only, log) = OutcomeLog::by(bypassing(verifier().0), describe);
    let service = ReportOnlyLayer::new(report_only, |_, _| {}).layer(service_fn(respond));
    for (request, expected) in table() {
        service.clone().oneshot(incoming(request)).await.unwrap();
        assert_eq!(log.take(), [format!("{} false", expected.split(' ').next().unwrap())]);
    }
}

#[tokio::test]
async fn each_nested_layer_reports_its_own_outcome() {
    let (outer, outer_log) = OutcomeLog::of(verifier().0);
    let (inner, inner_log) = OutcomeLog::of(verifier().0);
    let stack = outer.into_layer().layer(inner.into_layer().layer(service_fn(respond)));
    stack.oneshot(incoming(signed(get("/")))).await.unwrap();
    assert_eq!(outer_log.take(), ["verified demo 0"]);
    assert_eq!(inner_log.take(), ["misconfigured demo 0"]);
}

#[tokio::test]
async fn failed_store_is_reported_as_unavailable() {
    let (verifier, log) = OutcomeLog::of(verifier_on(crate::replay::FailingStore).0);
    assert_eq!(rig::code(&verifier, signed(get("/"))).await, "unavailable");
    assert_eq!(log.take(), ["unavailable demo 0"]);
    let broken = Verifier::new(key_fn(|_| async { Err::<Option<Secret>, _>("no route") }));
    let (broken, log) = OutcomeLog::of(broken.with_clock(ManualClock::at(NOW)));
    broken.verify(incoming(signed(get("/")))).await.unwrap_err();
    assert_eq!(log.take(), ["unavailable demo 0"]);
}

#[tokio::test]
async fn query_fields_are_reported_within_the_limit() {
    let scheme = Scheme::new().with_field_location(FieldLocation::Query);
    let limits = Limits::new().with_query(300);
    let (verifier, log) = OutcomeLog::of(verifier().0.with_scheme(scheme.clone()).with_limits(limits));
    for (filler, code, expected) in [
        ("", "accepted", "verified demo 0"),
        ("a=%zz&", "malformed_parameters", "malformed_parameters demo 0"),
        (&*"a=1&".repeat(100), "query_too_long", "query_too_long - -"),
    ] {
        let mut request = signed_by(&rig::signer_of(scheme.clone()), NOW, get("/"));
        *request.uri_mut() = format!("/?{filler}{}", request.uri().query().unwrap()).parse().unwrap();
        assert_eq!(rig::code(&verifier, request).await, code);
        assert_eq!(log.take(), [expected]);
    }
}

#[tokio::test]
async fn decision_carries_caller_or_rejection() {
    // The results are compared outside the hook, because panics in the hook are caught.
    let (verifier, log) = OutcomeLog::by(verifier().0.with_streamed_bodies(), |outcome| {
        let decided = match outcome.decision() {
            Decision::Verified(caller) => format!("verified {}", caller.app_id()),
            Decision::BodyNotRead(caller) => format!("unread {}", caller.app_id()),
            Decision::Rejected(rejection) => format!("rejected {}", rejection.kind().code()),
            other => format!("{other:?}"),
        };
        let caller = outcome.caller().map(|caller| (caller.app_id().as_str(), caller.key_index()));
        format!("{decided}: {caller:?}, {:?}", outcome.rejection().map(Rejection::kind))
    });
    let request = signed(get("/"));
    rig::verify(&verifier, request.clone()).await.unwrap();
    assert_eq!(log.take(), [r#"verified demo: Some(("demo", 0)), None"#]);
    rig::verify(&verifier, request).await.unwrap_err();
    assert_eq!(log.take(), ["rejected replayed_nonce: None, Some(ReplayedNonce)"]);
    drop(verifier.verify(upload("two")).await.unwrap());
    assert_eq!(log.take(), [r#"unread demo: Some(("demo", 0)), None"#]);
}

#[tokio::test]
async fn later_options_keep_the_observer() {
    let (observed, first) = OutcomeLog::of(verifier().0);
    let (_, clock) = verifier();
    let other = observed.with_nonces(MemoryNonceStore::new()).with_scheme(Scheme::new()).with_clock(clock).clone();
    rig::code(&other, get("/")).await;
    assert_eq!(first.take().len(), 1);
    let (other, second) = OutcomeLog::of(other);
    rig::code(&other, get("/")).await;
    assert_eq!((first.take().len(), second.take().len()), (0, 1));
}

/// A store with a delay.
struct SlowStore(ManualClock, MemoryNonceStore);

impl NonceStore for SlowStore {
    async fn claim(&self, claim: &NonceClaim<'_>, retention: Retention) -> Result<NonceStatus, StoreError> {
        self.0.advance(Duration::from_millis(40));
        self.1.claim(claim, retention).await
    }
}

#[tokio::test]
async fn duration_includes_stores_but_not_streaming() {
    let clock = ManualClock::at(NOW);
    let in_keys = clock.clone();
    let keys = key_fn(move |_| {
        in_keys.advance(Duration::from_millis(200));
        async { Ok::<_, Infallible>(Some(rig::secret())) }
    });
    let verifier = Verifier::new(keys).with_nonces(SlowStore(clock.clone(), MemoryNonceStore::new()));
    let verifier = verifier.with_clock(clock.clone()).with_streamed_bodies();
    let describe = |outcome: &Outcome<'_>| format!("{} {}", outcome.code(), outcome.duration().as_millis());
    let (verifier, log) = OutcomeLog::by(verifier, describe);
    verifier.verify(incoming(signed(get("/")))).await.unwrap();
    assert_eq!(log.take(), ["verified 240"]);
    let request = verifier.verify(incoming(signed(post("/", "text/plain", "onetwo")))).await.unwrap();
    clock.advance(Duration::from_secs(10));
    request.into_body().collect().await.unwrap();
    assert_eq!(log.take(), ["verified 240"]);
}

/// A body in two frames.
fn upload(second: &'static str) -> Request<UnverifiedBody> {
    let frames = ["one", second].map(|text| Ok::<_, Infallible>(Frame::data(Bytes::from(text))));
    let body = UnverifiedBody::new(StreamBody::new(futures_util::stream::iter(frames)));
    signed(post("/", "text/plain", "onetwo")).map(|_| body)
}

#[tokio::test]
async fn streamed_body_is_reported_at_its_end() {
    let (verifier, log) = OutcomeLog::of(verifier().0.with_streamed_bodies());
    for (second, expected) in [("two", "verified demo 0"), ("TWO", "body_mismatch demo 0")] {
        let mut body = verifier.verify(upload(second)).await.unwrap().into_body();
        assert!(log.take().is_empty(), "the body was not read");
        // The outcome is reported when the verifier reads the end, before the service does.
        while log.0.lock().unwrap().is_empty() {
            body.frame().await.unwrap().ok();
        }
        while body.frame().await.is_some() {}
        drop(body);
        assert_eq!(log.take(), [expected], "reported once");
    }
    let body = verifier.verify(incoming(signed(post("/", "text/plain", "")))).await.unwrap();
    assert_eq!(log.take(), ["verified demo 0"], "an empty body is reported at once");
    drop(body);
    assert!(log.take().is_empty());
}

#[tokio::test]
async fn dropped_streamed_body_is_reported_as_not_read() {
    let (verifier, log) = OutcomeLog::of(verifier().0.with_streamed_bodies());
    drop(verifier.verify(upload("two")).await.unwrap());
    assert_eq!(log.take(), ["body_not_read demo 0"]);
    let mut request = verifier.verify(upload("TWO")).await.unwrap();
    request.body_mut().frame().await.unwrap().unwrap();
    drop(request);
    assert_eq!(log.take(), ["body_not_read demo 0"]);
}

#[tokio::test]
async fn layer_reports_a_streamed_body_once() {
    async fn read(request: Request<ServiceBody>) -> Result<Response<ServiceBody>, Infallible> {
        let _ = request.into_body().collect().await;
        Ok(Response::default())
    }
    async fn ignore_body(_: Request<ServiceBody>) -> Result<Response<ServiceBody>, Infallible> {
        Ok(Response::default())
    }
    let (verifier, log) = OutcomeLog::of(verifier().0.with_streamed_bodies());
    let enforcing = verifier.clone().into_layer();
    let report_only = ReportOnlyLayer::new(verifier, |_, _| {});
    for (second, expected) in [("two", "verified demo 0"), ("TWO", "body_mismatch demo 0")] {
        enforcing.layer(service_fn(read)).oneshot(upload(second)).await.unwrap();
        assert_eq!(log.take(), [expected]);
        report_only.layer(service_fn(read)).oneshot(upload(second)).await.unwrap();
        assert_eq!(log.take(), [expected]);
        enforcing.layer(service_fn(ignore_body)).oneshot(upload(second)).await.unwrap();
        assert_eq!(log.take(), ["body_not_read demo 0"]);
        report_only.layer(service_fn(ignore_body)).oneshot(upload(second)).await.unwrap();
        assert_eq!(log.take(), ["body_not_read demo 0"]);
    }
}

/// A store that never answers.
struct HangingStore;

impl NonceStore for HangingStore {
    async fn claim(&self, _: &NonceClaim<'_>, _: Retention) -> Result<NonceStatus, StoreError> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn dropped_verification_is_reported_as_cancelled() {
    let (verifier, log) = OutcomeLog::of(verifier_on(HangingStore).0);
    assert!(rig::verify(&verifier, signed(get("/"))).now_or_never().is_none());
    assert_eq!(log.take(), ["cancelled demo 0"]);
    let service = verifier.clone().into_layer().layer(service_fn(respond));
    assert!(service.oneshot(incoming(signed(get("/")))).now_or_never().is_none());
    assert_eq!(log.take(), ["cancelled demo 0"]);
    drop(rig::verify(&verifier, signed(get("/"))));
    assert!(log.take().is_empty(), "a future that was never polled is no request");
}

#[tokio::test]
async fn panicking_hook_changes_no_response() {
    let verifier = verifier().0.with_streamed_bodies().with_observer(|_| panic!("on purpose"));
    for (request, outcome) in table() {
        let respond = rig::verify(&verifier, request).await;
        let code = respond.map_or_else(|rejection| rejection.kind().code(), |_| "accepted");
        assert!(outcome.starts_with(code) || code == "accepted" || code == "unsigned", "{code} is not {outcome}");
    }
    let mut body = verifier.verify(upload("forged")).await.unwrap().into_body();
    let mut data = Vec::new();
    loop {
        match body.frame().await {
            Some(Ok(frame)) => data.extend(frame.into_data().unwrap()),
            Some(Err(_)) => break,
            None => panic!("the body ended without an error: {data:?}"),
        }
    }
    assert!(body.frame().await.is_none(), "the body ends after the error");
}

#[tokio::test]
async fn panicking_subscriber_changes_no_response() {
    struct Panicking;

    impl Subscriber for Panicking {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, _: &Event<'_>) {
            panic!("on purpose");
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    let _subscribed = tracing::subscriber::set_default(Panicking);
    let (verifier, clock) = verifier();
    // The clock step is logged too.
    clock.set_wall(NOW - 3600);
    let request = signed(get("/"));
    assert!(rig::verify(&verifier, request.clone()).await.is_ok());
    assert_eq!(rig::code(&verifier, request).await, "replayed_nonce");
}

#[tokio::test]
async fn panicking_store_and_hook_end_one_request() {
    let keys = key_fn(async |_: AppId| -> Result<Option<Secret>, Infallible> { panic!("the key store panicked") });
    let verifier = Verifier::new(keys).with_clock(ManualClock::at(NOW)).with_observer(|_| panic!("on purpose"));
    let request = incoming(signed(get("/")));
    assert!(tokio::spawn(async move { verifier.verify(request).await.is_ok() }).await.unwrap_err().is_panic());
}
