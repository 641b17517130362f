//! Slow bodies: their deadlines, and keys that are retired during the upload.

use std::{
    convert::Infallible,
    future::pending,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, routing::post as on_post};
use bytes::Bytes;
use countersign::{
    App, AppId, Caller, Key, KeyRing, Limits, Rejection, Secret, Verifier,
    clock::{Clock, ManualClock},
    danger::ReportOnlyLayer,
    server::{ServiceBody, UnverifiedBody},
    store::{KeyStore, MemoryNonceStore, NonceClaim, NonceStatus, NonceStore, Retention, StoreError, key_fn},
};
use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::channel::{Channel, Sender};
use tokio::{
    net::TcpListener,
    task::{JoinHandle, yield_now},
    time::{Instant, timeout},
};
use tower::{Layer, ServiceExt, service_fn};

use crate::rig::{self, KEY, NOW, form, form_without_digest, post, signed, verifier};

const FORM: &str = "a=1&b=2";
const JSON: &str = r#"{"a":1}"#;

/// Two signed forms, with and without a digest, and a signed JSON body.
fn bodies() -> [Request<&'static str>; 3] {
    [signed(form("/", FORM)), form_without_digest("/", FORM), signed(post("/", "application/json", JSON))]
}

/// The request with a body that ends when its sender is dropped, and the signed bytes.
fn slow(request: Request<&'static str>) -> (Sender<Bytes>, Request<UnverifiedBody>, Bytes) {
    let (sender, channel) = Channel::new(1);
    let bytes = Bytes::from(*request.body());
    (sender, request.map(|_| UnverifiedBody::new(channel)), bytes)
}

type Verdict = Result<Request<ServiceBody>, Rejection>;

fn code(verdict: &Verdict) -> &'static str {
    verdict.as_ref().map_or_else(|rejection| rejection.kind().code(), |_| "accepted")
}

/// Verifies the request and measures the time. Tokio's clock is paused and advances when all tasks wait.
async fn verify_timed<K: KeyStore, N: NonceStore>(
    verifier: &Verifier<K, N>,
    request: Request<UnverifiedBody>,
) -> (&'static str, Duration) {
    let start = Instant::now();
    let verdict = timeout(Duration::from_secs(100_000), verifier.verify(request)).await;
    (verdict.map_or("never", |verdict| code(&verdict)), start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn endless_body_is_rejected_at_its_deadline() {
    for (request, seconds) in bodies().into_iter().zip([15, 15, 300]) {
        for part in ["", "a"] {
            let (mut sender, slow, _) = slow(request.clone());
            sender.send_data(part.into()).await.unwrap();
            let (code, took) = verify_timed(&verifier().0, slow).await;
            assert_eq!((code, took.as_secs()), ("body_timeout", seconds), "{:?} after {part:?}", request.body());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn unstarted_body_is_rejected_at_its_deadline() {
    let (_sender, slow, _) = slow(signed(rig::get("/")));
    let (code, took) = verify_timed(&verifier().0, slow).await;
    assert_eq!((code, took.as_secs()), ("body_timeout", 300));
}

#[tokio::test(start_paused = true)]
async fn deadlines_are_configurable() {
    let limits = Limits::new().with_form_timeout(Duration::from_secs(2)).with_body_timeout(Duration::from_millis(700));
    assert_eq!((limits.form_timeout().as_secs(), limits.body_timeout().as_millis()), (2, 700));
    for (request, milliseconds) in bodies().into_iter().zip([2000, 2000, 700]) {
        let (_sender, slow, _) = slow(request);
        let (code, took) = verify_timed(&verifier().0.with_limits(limits), slow).await;
        assert_eq!((code, took.as_millis()), ("body_timeout", milliseconds));
    }
    let forever = limits.with_form_timeout(Duration::MAX).with_body_timeout(Duration::MAX);
    for request in bodies() {
        let (_sender, slow, _) = slow(request);
        assert_eq!(verify_timed(&verifier().0.with_limits(forever), slow).await.0, "never");
    }
}

#[tokio::test(start_paused = true)]
async fn body_that_trickles_is_rejected_at_its_deadline() {
    for (request, seconds) in bodies().into_iter().zip([15, 15, 300]) {
        let (mut sender, slow, _) = slow(request);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if sender.send_data(Bytes::from_static(b"a")).await.is_err() {
                    return pending::<()>().await;
                }
            }
        });
        let (code, took) = verify_timed(&verifier().0, slow).await;
        assert_eq!((code, took.as_secs()), ("body_timeout", seconds));
    }
}

#[tokio::test(start_paused = true)]
async fn time_of_the_key_lookup_counts() {
    let keys = key_fn(async |_| {
        tokio::time::sleep(Duration::from_secs(4)).await;
        Ok::<_, Infallible>(Some(rig::secret()))
    });
    let clock = TokioClock(Instant::now());
    let verifier = Verifier::new(keys).with_clock(clock);
    let (_sender, slow, _) = slow(signed(form("/", FORM)));
    let (code, took) = verify_timed(&verifier, slow).await;
    assert_eq!((code, took.as_secs()), ("body_timeout", 15));
}

/// A verifier clock that reads Tokio's clock.
struct TokioClock(Instant);

impl Clock for TokioClock {
    fn wall(&self) -> Duration {
        Duration::from_secs(NOW) + self.0.elapsed()
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Tokio's timers stop while the machine is suspended.
#[tokio::test(start_paused = true)]
async fn body_that_ends_after_a_suspension_is_rejected() {
    for (request, deadline) in bodies().into_iter().zip([15, 15, 300]) {
        for (seconds, expected) in [(deadline, "accepted"), (deadline + 2, "body_timeout")] {
            let (verifier, clock) = verifier();
            let request = rig::signed_by(&rig::signer(), NOW + 300, request.clone());
            let (mut sender, slow, bytes) = slow(request);
            let verdict = tokio::spawn(async move { code(&verifier.verify(slow).await) });
            settle().await;
            // Only the wall clock moves, not the monotonic clock.
            clock.set_wall(NOW + seconds);
            sender.send_data(bytes).await.unwrap();
            drop(sender);
            assert_eq!(verdict.await.unwrap(), expected, "after {seconds} s");
        }
    }
}

#[test]
fn waiting_without_timers_is_misconfigured() {
    for request in bodies() {
        let (_sender, waiting, _) = slow(request.clone());
        let verdict = verifier().0.verify(waiting).now_or_never();
        assert_eq!(code(&verdict.unwrap()), "misconfigured", "without a runtime");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (_sender, waiting, _) = slow(signed(request.clone()));
        let rejection = runtime.block_on(verifier().0.verify(waiting)).unwrap_err();
        assert!(rejection.to_string().contains("enable_all"), "{rejection}");
        // A body that is ready at once needs no timer. A body without a deadline needs none either.
        let whole = rig::incoming(signed(request.clone()));
        assert_eq!(code(&verifier().0.verify(whole).now_or_never().unwrap()), "accepted");
        let limits = Limits::new().with_form_timeout(Duration::MAX).with_body_timeout(Duration::MAX);
        let (_sender, waiting, _) = slow(signed(request));
        assert!(verifier().0.with_limits(limits).verify(waiting).now_or_never().is_none());
    }
}

/// Lets all tasks run until they wait.
async fn settle() {
    for _ in 0..100 {
        yield_now().await;
    }
}

/// A key store with a replaceable answer that counts its lookups.
#[derive(Clone)]
struct Keys {
    answer: Arc<Mutex<Result<Option<App>, &'static str>>>,
    lookups: Arc<AtomicUsize>,
}

impl KeyStore for Keys {
    async fn keys(&self, _: &AppId) -> Result<Option<App>, StoreError> {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        self.answer.lock().unwrap().clone().map_err(StoreError::new)
    }
}

fn named(text: &str, name: &str) -> Key {
    Key::from(Secret::new(text).unwrap()).with_name(name.parse().unwrap())
}

const OTHER: &str = "ffffffffffffffffffffffffffffffff";

/// A request whose body is still arriving.
struct Upload {
    keys: Keys,
    clock: ManualClock,
    sender: Sender<Bytes>,
    bytes: Bytes,
    verdict: JoinHandle<Verdict>,
}

impl Upload {
    async fn start(request: Request<&'static str>) -> Self {
        let app = App::new(KeyRing::new([named(KEY, "old")]).unwrap()).with_data("before");
        let keys = Keys { answer: Arc::new(Mutex::new(Ok(Some(app)))), lookups: Arc::default() };
        let clock = ManualClock::at(NOW - 3600);
        let verifier = Verifier::new(keys.clone()).with_clock(clock.clone());
        clock.advance(Duration::from_secs(3600));
        let (sender, slow, bytes) = slow(request);
        let verdict = tokio::spawn(async move { verifier.verify(slow).await });
        settle().await;
        assert_eq!(keys.lookups.load(Ordering::Relaxed), 1);
        Self { keys, clock, sender, bytes, verdict }
    }

    fn set(&self, answer: Result<Option<App>, &'static str>) {
        *self.keys.answer.lock().unwrap() = answer;
    }

    async fn end_after(mut self, milliseconds: u64) -> (Verdict, usize) {
        self.clock.advance(Duration::from_millis(milliseconds));
        self.sender.send_data(self.bytes).await.unwrap();
        drop(self.sender);
        (self.verdict.await.unwrap(), self.keys.lookups.load(Ordering::Relaxed))
    }
}

#[tokio::test]
async fn key_retired_while_the_body_arrives_is_rejected() {
    let other_key = || App::new(KeyRing::new([named(OTHER, "new")]).unwrap());
    let over = || App::new(KeyRing::new([named(KEY, "old").with_not_after(NOW + 5)]).unwrap());
    for request in bodies() {
        for answer in [None, Some(other_key()), Some(over())] {
            let upload = Upload::start(request.clone()).await;
            upload.set(Ok(answer));
            let (verdict, lookups) = upload.end_after(6000).await;
            assert_eq!((code(&verdict), lookups), ("invalid_signature", 2), "{:?}", request.body());
            let rejection = verdict.unwrap_err();
            assert!(rejection.detail().starts_with("the app id is unknown, or the signature is not"), "{rejection}");
        }
    }
}

#[tokio::test]
async fn lookup_is_not_repeated_within_five_seconds() {
    for request in bodies() {
        let upload = Upload::start(request.clone()).await;
        upload.set(Ok(None));
        let (verdict, lookups) = upload.end_after(5000).await;
        assert_eq!((code(&verdict), lookups), ("accepted", 1));
        let upload = Upload::start(request).await;
        let (verdict, lookups) = upload.end_after(5001).await;
        assert_eq!((code(&verdict), lookups), ("accepted", 2));
    }
}

#[tokio::test]
async fn caller_has_the_latest_key_store_answer() {
    for request in bodies() {
        let upload = Upload::start(request).await;
        let ring = KeyRing::new([named(OTHER, "new"), named(KEY, "renamed")]).unwrap();
        upload.set(Ok(Some(App::new(ring).with_data("after"))));
        let request = upload.end_after(10_000).await.0.unwrap();
        let caller = request.extensions().get::<Caller>().unwrap();
        assert_eq!((caller.key_index(), caller.key_name()), (1, Some("renamed")));
        assert_eq!(caller.data::<&str>(), Some(&"after"));
    }
}

#[tokio::test]
async fn key_store_failure_during_upload_returns_503() {
    for request in bodies() {
        let upload = Upload::start(request).await;
        upload.set(Err("the database is down"));
        assert_eq!(code(&upload.end_after(6000).await.0), "unavailable");
    }
}

/// A nonce store whose claims take 6 seconds.
struct SlowStore(ManualClock, MemoryNonceStore);

impl NonceStore for SlowStore {
    async fn claim(&self, claim: &NonceClaim<'_>, retention: Retention) -> Result<NonceStatus, StoreError> {
        self.0.advance(Duration::from_secs(6));
        self.1.claim(claim, retention).await
    }

    fn is_persistent(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn key_retired_during_the_nonce_claim_is_rejected() {
    let keys = Keys { answer: Arc::new(Mutex::new(Ok(Some(App::new(rig::secret()))))), lookups: Arc::default() };
    let clock = ManualClock::at(NOW);
    let slow = SlowStore(clock.clone(), MemoryNonceStore::new());
    let verifier = Verifier::new(keys.clone()).with_nonces(slow).with_clock(clock);
    let verdict = verifier.verify(rig::incoming(signed(rig::get("/")))).await;
    assert_eq!((code(&verdict), keys.lookups.load(Ordering::Relaxed)), ("accepted", 2));
    let mut verifying = Box::pin(verifier.verify(rig::incoming(signed(rig::get("/")))));
    *keys.answer.lock().unwrap() = Ok(None);
    assert_eq!(code(&(&mut verifying).await), "invalid_signature");
}

#[tokio::test(start_paused = true)]
async fn report_only_calls_the_service_after_the_deadline() {
    for request in bodies() {
        let reported = Arc::new(Mutex::new(Vec::new()));
        let reporter = reported.clone();
        let layer = ReportOnlyLayer::new(verifier().0, move |_, verdict| {
            reporter.lock().unwrap().push(verdict.map_or_else(|rejection| rejection.kind().code(), |_| "accepted"));
        });
        let (sender, slow, bytes) = slow(request);
        let service = layer.layer(service_fn(|request: Request<ServiceBody>| async {
            Ok::<_, Infallible>(Response::new(rig::bytes(request.into_body()).await))
        }));
        let answer = tokio::spawn(service.oneshot(slow));
        tokio::time::sleep(Duration::from_secs(301)).await;
        assert_eq!(*reported.lock().unwrap(), ["body_timeout"]);
        let mut sender = sender;
        sender.send_data(bytes.clone()).await.unwrap();
        drop(sender);
        assert_eq!(answer.await.unwrap().unwrap().into_body(), bytes);
    }
}

async fn serve(limits: Limits) -> SocketAddr {
    let layer = Verifier::new(rig::keys()).with_limits(limits).with_clock(ManualClock::at(NOW)).into_layer();
    let app = Router::new().route("/", on_post(async || "accepted")).layer(layer);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
    address
}

/// Sends a part of the body, and then waits for the response.
fn stall(address: SocketAddr, request: &Request<&'static str>) -> String {
    let mut head = "POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n".to_owned();
    for (name, value) in request.headers() {
        head += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "{head}content-length: {}\r\n\r\n{}", request.body().len(), &request.body()[..3]).unwrap();
    // The server drains the connection for 5 more seconds, so the test stops at the end of the JSON.
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        let mut piece = [0; 4096];
        match stream.read(&mut piece).unwrap() {
            0 => break,
            n => answer.extend_from_slice(&piece[..n]),
        }
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_upload_over_a_socket_gets_a_response() {
    let timeout = Duration::from_millis(200);
    let address = serve(Limits::new().with_form_timeout(timeout).with_body_timeout(timeout)).await;
    for request in bodies() {
        let answer = tokio::task::spawn_blocking(move || stall(address, &request)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("x-error-code: body_timeout") && answer.contains("within 0.2 s"), "{answer}");
    }
}
