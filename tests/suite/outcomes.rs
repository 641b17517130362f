//! What became of a request is told once, whoever asked for it and however it ended.

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

use crate::rig::{self, NOW, arriving, get, post, signed, signed_by, signer, verifier, verifier_on};

/// Outcomes in words, as they are told.
#[derive(Clone, Default)]
pub(crate) struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    /// Code, app id and skew.
    fn of<K: KeyStore, N: NonceStore>(verifier: Verifier<K, N>) -> (Verifier<K, N>, Self) {
        Self::by(verifier, |outcome| {
            let (app_id, skew) = (outcome.claimed_app_id().map_or("-", AppId::as_str), outcome.skew());
            format!("{} {app_id} {}", outcome.code(), skew.map_or("-".to_owned(), |skew| skew.to_string()))
        })
    }

    pub(crate) fn by<K: KeyStore, N: NonceStore>(
        verifier: Verifier<K, N>,
        word: impl Fn(&Outcome<'_>) -> String + Send + Sync + 'static,
    ) -> (Verifier<K, N>, Self) {
        let told = Self::default();
        let telling = told.clone();
        let observe = move |outcome: &Outcome<'_>| telling.push(word(outcome));
        (verifier.with_observer(observe), told)
    }

    pub(crate) fn push(&self, word: String) {
        self.0.lock().unwrap().push(word);
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

/// Requests, and what is told of each.
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

async fn answer(request: Request<ServiceBody>) -> Result<Response<ServiceBody>, Infallible> {
    Ok(Response::new(request.into_body()))
}

#[tokio::test]
async fn each_request_has_one_outcome_with_what_is_known_of_it() {
    let (bare, told) = Told::of(bypassing(verifier().0));
    for (request, expected) in table() {
        let _ = rig::verify(&bare, request).await;
        assert_eq!(told.take(), [expected]);
    }
}

#[tokio::test]
async fn both_layers_report_the_same_outcomes() {
    let word = |outcome: &Outcome<'_>| format!("{} {}", outcome.code(), outcome.is_enforced());
    let (verifying, told) = Told::by(bypassing(verifier().0), word);
    let service = verifying.into_layer().layer(service_fn(answer));
    for (request, expected) in table() {
        service.clone().oneshot(arriving(request)).await.unwrap();
        assert_eq!(told.take(), [format!("{} true", expected.split(' ').next().unwrap())]);
    }
    let (reporting, told) = Told::by(bypassing(verifier().0), word);
    let service = ReportOnlyLayer::new(reporting, |_, _| {}).layer(service_fn(answer));
    for (request, expected) in table() {
        service.clone().oneshot(arriving(request)).await.unwrap();
        assert_eq!(told.take(), [format!("{} false", expected.split(' ').next().unwrap())]);
    }
}

#[tokio::test]
async fn each_layer_of_two_tells_its_own() {
    let (outer, of_outer) = Told::of(verifier().0);
    let (inner, of_inner) = Told::of(verifier().0);
    let stack = outer.into_layer().layer(inner.into_layer().layer(service_fn(answer)));
    stack.oneshot(arriving(signed(get("/")))).await.unwrap();
    assert_eq!(of_outer.take(), ["verified demo 0"]);
    assert_eq!(of_inner.take(), ["misconfigured demo 0"]);
}

#[tokio::test]
async fn a_store_that_is_down_is_told_as_such() {
    let (verifier, told) = Told::of(verifier_on(crate::replay::Down).0);
    assert_eq!(rig::code(&verifier, signed(get("/"))).await, "unavailable");
    assert_eq!(told.take(), ["unavailable demo 0"]);
    let broken = Verifier::new(key_fn(|_| async { Err::<Option<Secret>, _>("no route") }));
    let (broken, told) = Told::of(broken.with_clock(ManualClock::at(NOW)));
    broken.verify(arriving(signed(get("/")))).await.unwrap_err();
    assert_eq!(told.take(), ["unavailable demo 0"]);
}

#[tokio::test]
async fn query_fields_are_reported_within_the_limit() {
    let scheme = Scheme::new().with_field_location(FieldLocation::Query);
    let limits = Limits::new().with_query(300);
    let (verifier, told) = Told::of(verifier().0.with_scheme(scheme.clone()).with_limits(limits));
    for (filler, code, expected) in [
        ("", "accepted", "verified demo 0"),
        ("a=%zz&", "malformed_parameters", "malformed_parameters demo 0"),
        (&*"a=1&".repeat(100), "query_too_long", "query_too_long - -"),
    ] {
        let mut request = signed_by(&rig::signer_of(scheme.clone()), NOW, get("/"));
        *request.uri_mut() = format!("/?{filler}{}", request.uri().query().unwrap()).parse().unwrap();
        assert_eq!(rig::code(&verifier, request).await, code);
        assert_eq!(told.take(), [expected]);
    }
}

#[tokio::test]
async fn decision_carries_caller_or_rejection() {
    // In words, since a hook that panics is not heard.
    let (verifier, told) = Told::by(verifier().0.with_streamed_bodies(), |outcome| {
        let decided = match outcome.decision() {
            Decision::Verified(caller) => format!("verified {}", caller.app_id()),
            Decision::BodyNotRead(caller) => format!("unread {}", caller.app_id()),
            Decision::Rejected(rejection) => format!("refused {}", rejection.kind().code()),
            other => format!("{other:?}"),
        };
        let caller = outcome.caller().map(|caller| (caller.app_id().as_str(), caller.key_index()));
        format!("{decided}: {caller:?}, {:?}", outcome.rejection().map(Rejection::kind))
    });
    let request = signed(get("/"));
    rig::verify(&verifier, request.clone()).await.unwrap();
    assert_eq!(told.take(), [r#"verified demo: Some(("demo", 0)), None"#]);
    rig::verify(&verifier, request).await.unwrap_err();
    assert_eq!(told.take(), ["refused replayed_nonce: None, Some(ReplayedNonce)"]);
    drop(verifier.verify(upload("two")).await.unwrap());
    assert_eq!(told.take(), [r#"unread demo: Some(("demo", 0)), None"#]);
}

#[tokio::test]
async fn later_options_keep_the_observer() {
    let (observed, first) = Told::of(verifier().0);
    let (_, clock) = verifier();
    let other = observed.with_nonces(MemoryNonceStore::new()).with_scheme(Scheme::new()).with_clock(clock).clone();
    rig::code(&other, get("/")).await;
    assert_eq!(first.take().len(), 1);
    let (other, second) = Told::of(other);
    rig::code(&other, get("/")).await;
    assert_eq!((first.take().len(), second.take().len()), (0, 1));
}

/// A store that takes its time.
struct Slow(ManualClock, MemoryNonceStore);

impl NonceStore for Slow {
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
    let verifier = Verifier::new(keys).with_nonces(Slow(clock.clone(), MemoryNonceStore::new()));
    let verifier = verifier.with_clock(clock.clone()).with_streamed_bodies();
    let word = |outcome: &Outcome<'_>| format!("{} {}", outcome.code(), outcome.duration().as_millis());
    let (verifier, told) = Told::by(verifier, word);
    verifier.verify(arriving(signed(get("/")))).await.unwrap();
    assert_eq!(told.take(), ["verified 240"]);
    let request = verifier.verify(arriving(signed(post("/", "text/plain", "onetwo")))).await.unwrap();
    clock.advance(Duration::from_secs(10));
    request.into_body().collect().await.unwrap();
    assert_eq!(told.take(), ["verified 240"]);
}

/// A body in two frames.
fn upload(second: &'static str) -> Request<UnverifiedBody> {
    let frames = ["one", second].map(|text| Ok::<_, Infallible>(Frame::data(Bytes::from(text))));
    let body = UnverifiedBody::new(StreamBody::new(futures_util::stream::iter(frames)));
    signed(post("/", "text/plain", "onetwo")).map(|_| body)
}

#[tokio::test]
async fn streamed_body_is_reported_at_its_end() {
    let (verifier, told) = Told::of(verifier().0.with_streamed_bodies());
    for (second, expected) in [("two", "verified demo 0"), ("TWO", "body_mismatch demo 0")] {
        let mut body = verifier.verify(upload(second)).await.unwrap().into_body();
        assert!(told.take().is_empty(), "nothing of it was read");
        // When the end is seen, and before it is handed on.
        while told.0.lock().unwrap().is_empty() {
            body.frame().await.unwrap().ok();
        }
        while body.frame().await.is_some() {}
        drop(body);
        assert_eq!(told.take(), [expected], "once");
    }
    let body = verifier.verify(arriving(signed(post("/", "text/plain", "")))).await.unwrap();
    assert_eq!(told.take(), ["verified demo 0"], "there is nothing to wait for");
    drop(body);
    assert!(told.take().is_empty());
}

#[tokio::test]
async fn a_streamed_body_that_is_dropped_before_its_end_is_unread() {
    let (verifier, told) = Told::of(verifier().0.with_streamed_bodies());
    drop(verifier.verify(upload("two")).await.unwrap());
    assert_eq!(told.take(), ["body_not_read demo 0"]);
    let mut request = verifier.verify(upload("TWO")).await.unwrap();
    request.body_mut().frame().await.unwrap().unwrap();
    drop(request);
    assert_eq!(told.take(), ["body_not_read demo 0"]);
}

#[tokio::test]
async fn layer_reports_a_streamed_body_once() {
    async fn read(request: Request<ServiceBody>) -> Result<Response<ServiceBody>, Infallible> {
        let _ = request.into_body().collect().await;
        Ok(Response::default())
    }
    async fn shrug(_: Request<ServiceBody>) -> Result<Response<ServiceBody>, Infallible> {
        Ok(Response::default())
    }
    let (verifier, told) = Told::of(verifier().0.with_streamed_bodies());
    let refusing = verifier.clone().into_layer();
    let reporting = ReportOnlyLayer::new(verifier, |_, _| {});
    for (second, expected) in [("two", "verified demo 0"), ("TWO", "body_mismatch demo 0")] {
        refusing.layer(service_fn(read)).oneshot(upload(second)).await.unwrap();
        assert_eq!(told.take(), [expected]);
        reporting.layer(service_fn(read)).oneshot(upload(second)).await.unwrap();
        assert_eq!(told.take(), [expected]);
        refusing.layer(service_fn(shrug)).oneshot(upload(second)).await.unwrap();
        assert_eq!(told.take(), ["body_not_read demo 0"]);
        reporting.layer(service_fn(shrug)).oneshot(upload(second)).await.unwrap();
        assert_eq!(told.take(), ["body_not_read demo 0"]);
    }
}

/// A store that never answers.
struct Silent;

impl NonceStore for Silent {
    async fn claim(&self, _: &NonceClaim<'_>, _: Retention) -> Result<NonceStatus, StoreError> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn dropped_verification_is_reported_as_cancelled() {
    let (verifier, told) = Told::of(verifier_on(Silent).0);
    assert!(rig::verify(&verifier, signed(get("/"))).now_or_never().is_none());
    assert_eq!(told.take(), ["cancelled demo 0"]);
    let service = verifier.clone().into_layer().layer(service_fn(answer));
    assert!(service.oneshot(arriving(signed(get("/")))).now_or_never().is_none());
    assert_eq!(told.take(), ["cancelled demo 0"]);
    drop(rig::verify(&verifier, signed(get("/"))));
    assert!(told.take().is_empty(), "what was never begun is no request");
}

#[tokio::test]
async fn panicking_hook_changes_no_response() {
    let verifier = verifier().0.with_streamed_bodies().with_observer(|_| panic!("on purpose"));
    for (request, outcome) in table() {
        let answer = rig::verify(&verifier, request).await;
        let code = answer.map_or_else(|rejection| rejection.kind().code(), |_| "accepted");
        assert!(outcome.starts_with(code) || code == "accepted" || code == "unsigned", "{code} is not {outcome}");
    }
    let mut body = verifier.verify(upload("forged")).await.unwrap().into_body();
    let mut data = Vec::new();
    loop {
        match body.frame().await {
            Some(Ok(frame)) => data.extend(frame.into_data().unwrap()),
            Some(Err(_)) => break,
            None => panic!("it ends as if it were signed: {data:?}"),
        }
    }
    assert!(body.frame().await.is_none(), "nothing comes after the error");
}

#[tokio::test]
async fn a_subscriber_that_panics_changes_no_answer() {
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
    // Which is told of too.
    clock.set_wall(NOW - 3600);
    let request = signed(get("/"));
    assert!(rig::verify(&verifier, request.clone()).await.is_ok());
    assert_eq!(rig::code(&verifier, request).await, "replayed_nonce");
}

#[tokio::test]
async fn panicking_store_and_hook_end_one_request() {
    let keys = key_fn(async |_: AppId| -> Result<Option<Secret>, Infallible> { panic!("out of cheese") });
    let verifier = Verifier::new(keys).with_clock(ManualClock::at(NOW)).with_observer(|_| panic!("on purpose"));
    let request = arriving(signed(get("/")));
    assert!(tokio::spawn(async move { verifier.verify(request).await.is_ok() }).await.unwrap_err().is_panic());
}
