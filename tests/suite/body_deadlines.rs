//! Bodies that take their time: their deadlines, and keys that are retired while they arrive.

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

/// A signed form, and a signed body that is none.
fn bodies() -> [Request<&'static str>; 3] {
    [signed(form("/", FORM)), form_without_digest("/", FORM), signed(post("/", "application/json", JSON))]
}

/// The request with a body that does not end before its sender is dropped, and the bytes that it needs.
fn slow(request: Request<&'static str>) -> (Sender<Bytes>, Request<UnverifiedBody>, Bytes) {
    let (sender, channel) = Channel::new(1);
    let bytes = Bytes::from(*request.body());
    (sender, request.map(|_| UnverifiedBody::new(channel)), bytes)
}

type Verdict = Result<Request<ServiceBody>, Rejection>;

fn code(verdict: &Verdict) -> &'static str {
    verdict.as_ref().map_or_else(|rejection| rejection.kind().code(), |_| "accepted")
}

/// Tokio's clock is on hold in these tests, and goes on where everybody waits.
async fn waits<K: KeyStore, N: NonceStore>(
    verifier: &Verifier<K, N>,
    request: Request<UnverifiedBody>,
) -> (&'static str, Duration) {
    let start = Instant::now();
    let verdict = timeout(Duration::from_secs(100_000), verifier.verify(request)).await;
    (verdict.map_or("never", |verdict| code(&verdict)), start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn body_that_never_ends_is_rejected_at_its_deadline() {
    for (request, seconds) in bodies().into_iter().zip([15, 15, 300]) {
        for part in ["", "a"] {
            let (mut sender, slow, _) = slow(request.clone());
            sender.send_data(part.into()).await.unwrap();
            let (code, took) = waits(&verifier().0, slow).await;
            assert_eq!((code, took.as_secs()), ("body_timeout", seconds), "{:?} after {part:?}", request.body());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn unsigned_body_that_never_begins_is_rejected_at_its_deadline() {
    let (_sender, slow, _) = slow(signed(rig::get("/")));
    let (code, took) = waits(&verifier().0, slow).await;
    assert_eq!((code, took.as_secs()), ("body_timeout", 300));
}

#[tokio::test(start_paused = true)]
async fn deadlines_are_configurable() {
    let limits = Limits::new().with_form_timeout(Duration::from_secs(2)).with_body_timeout(Duration::from_millis(700));
    assert_eq!((limits.form_timeout().as_secs(), limits.body_timeout().as_millis()), (2, 700));
    for (request, milliseconds) in bodies().into_iter().zip([2000, 2000, 700]) {
        let (_sender, slow, _) = slow(request);
        let (code, took) = waits(&verifier().0.with_limits(limits), slow).await;
        assert_eq!((code, took.as_millis()), ("body_timeout", milliseconds));
    }
    let forever = limits.with_form_timeout(Duration::MAX).with_body_timeout(Duration::MAX);
    for request in bodies() {
        let (_sender, slow, _) = slow(request);
        assert_eq!(waits(&verifier().0.with_limits(forever), slow).await.0, "never");
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
        let (code, took) = waits(&verifier().0, slow).await;
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
    let (code, took) = waits(&verifier, slow).await;
    assert_eq!((code, took.as_secs()), ("body_timeout", 15));
}

/// Tokio's clock, as a verifier's.
struct TokioClock(Instant);

impl Clock for TokioClock {
    fn wall(&self) -> Duration {
        Duration::from_secs(NOW) + self.0.elapsed()
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Tokio's timers stand still while a machine is suspended.
#[tokio::test(start_paused = true)]
async fn body_that_ends_after_a_suspension_is_rejected() {
    for (request, deadline) in bodies().into_iter().zip([15, 15, 300]) {
        for (seconds, expected) in [(deadline, "accepted"), (deadline + 2, "body_timeout")] {
            let (verifier, clock) = verifier();
            let request = rig::signed_by(&rig::signer(), NOW + 300, request.clone());
            let (mut sender, slow, bytes) = slow(request);
            let verdict = tokio::spawn(async move { code(&verifier.verify(slow).await) });
            settle().await;
            // The wall, and not the monotonic clock.
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
        // What is there at once needs none, nor does what may take forever.
        let whole = rig::arriving(signed(request.clone()));
        assert_eq!(code(&verifier().0.verify(whole).now_or_never().unwrap()), "accepted");
        let limits = Limits::new().with_form_timeout(Duration::MAX).with_body_timeout(Duration::MAX);
        let (_sender, waiting, _) = slow(signed(request));
        assert!(verifier().0.with_limits(limits).verify(waiting).now_or_never().is_none());
    }
}

/// Every task has done what it can do.
async fn settle() {
    for _ in 0..100 {
        yield_now().await;
    }
}

/// A key store whose answer can be changed, and which counts its look-ups.
#[derive(Clone)]
struct Keys {
    answer: Arc<Mutex<Result<Option<App>, &'static str>>>,
    look_ups: Arc<AtomicUsize>,
}

impl KeyStore for Keys {
    async fn keys(&self, _: &AppId) -> Result<Option<App>, StoreError> {
        self.look_ups.fetch_add(1, Ordering::Relaxed);
        self.answer.lock().unwrap().clone().map_err(StoreError::new)
    }
}

fn named(text: &str, name: &str) -> Key {
    Key::from(Secret::new(text).unwrap()).with_name(name.parse().unwrap())
}

const OTHER: &str = "ffffffffffffffffffffffffffffffff";

/// A request whose body arrives while something happens.
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
        let keys = Keys { answer: Arc::new(Mutex::new(Ok(Some(app)))), look_ups: Arc::default() };
        let clock = ManualClock::at(NOW - 3600);
        let verifier = Verifier::new(keys.clone()).with_clock(clock.clone());
        clock.advance(Duration::from_secs(3600));
        let (sender, slow, bytes) = slow(request);
        let verdict = tokio::spawn(async move { verifier.verify(slow).await });
        settle().await;
        assert_eq!(keys.look_ups.load(Ordering::Relaxed), 1);
        Self { keys, clock, sender, bytes, verdict }
    }

    fn set(&self, answer: Result<Option<App>, &'static str>) {
        *self.keys.answer.lock().unwrap() = answer;
    }

    async fn end_after(mut self, milliseconds: u64) -> (Verdict, usize) {
        self.clock.advance(Duration::from_millis(milliseconds));
        self.sender.send_data(self.bytes).await.unwrap();
        drop(self.sender);
        (self.verdict.await.unwrap(), self.keys.look_ups.load(Ordering::Relaxed))
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
            let (verdict, look_ups) = upload.end_after(6000).await;
            assert_eq!((code(&verdict), look_ups), ("invalid_signature", 2), "{:?}", request.body());
            let rejection = verdict.unwrap_err();
            assert!(rejection.detail().starts_with("the app id is unknown, or the signature is not"), "{rejection}");
        }
    }
}

#[tokio::test]
async fn keys_are_not_looked_up_again_within_five_seconds() {
    for request in bodies() {
        let upload = Upload::start(request.clone()).await;
        upload.set(Ok(None));
        let (verdict, look_ups) = upload.end_after(5000).await;
        assert_eq!((code(&verdict), look_ups), ("accepted", 1));
        let upload = Upload::start(request).await;
        let (verdict, look_ups) = upload.end_after(5001).await;
        assert_eq!((code(&verdict), look_ups), ("accepted", 2));
    }
}

#[tokio::test]
async fn caller_has_the_later_answer_of_the_key_store() {
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
async fn key_store_that_fails_meanwhile_is_503() {
    for request in bodies() {
        let upload = Upload::start(request).await;
        upload.set(Err("the database is down"));
        assert_eq!(code(&upload.end_after(6000).await.0), "unavailable");
    }
}

/// A store whose answers take as long as the test says.
struct Slow(ManualClock, MemoryNonceStore);

impl NonceStore for Slow {
    async fn claim(&self, claim: &NonceClaim<'_>, retention: Retention) -> Result<NonceStatus, StoreError> {
        self.0.advance(Duration::from_secs(6));
        self.1.claim(claim, retention).await
    }

    fn is_persistent(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn key_retired_while_a_shared_store_is_asked_is_rejected() {
    let keys = Keys { answer: Arc::new(Mutex::new(Ok(Some(App::new(rig::secret()))))), look_ups: Arc::default() };
    let clock = ManualClock::at(NOW);
    let slow = Slow(clock.clone(), MemoryNonceStore::new());
    let verifier = Verifier::new(keys.clone()).with_nonces(slow).with_clock(clock);
    let verdict = verifier.verify(rig::arriving(signed(rig::get("/")))).await;
    assert_eq!((code(&verdict), keys.look_ups.load(Ordering::Relaxed)), ("accepted", 2));
    let mut verifying = Box::pin(verifier.verify(rig::arriving(signed(rig::get("/")))));
    *keys.answer.lock().unwrap() = Ok(None);
    assert_eq!(code(&(&mut verifying).await), "invalid_signature");
}

#[tokio::test(start_paused = true)]
async fn report_only_calls_the_service_after_the_deadline() {
    for request in bodies() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let telling = told.clone();
        let layer = ReportOnlyLayer::new(verifier().0, move |_, verdict| {
            telling.lock().unwrap().push(verdict.map_or_else(|rejection| rejection.kind().code(), |_| "accepted"));
        });
        let (sender, slow, bytes) = slow(request);
        let service = layer.layer(service_fn(|request: Request<ServiceBody>| async {
            Ok::<_, Infallible>(Response::new(rig::bytes(request.into_body()).await))
        }));
        let answer = tokio::spawn(service.oneshot(slow));
        tokio::time::sleep(Duration::from_secs(301)).await;
        assert_eq!(*told.lock().unwrap(), ["body_timeout"]);
        let mut sender = sender;
        sender.send_data(bytes.clone()).await.unwrap();
        drop(sender);
        assert_eq!(answer.await.unwrap().unwrap().into_body(), bytes);
    }
}

async fn serve(limits: Limits) -> SocketAddr {
    let layer = Verifier::new(rig::keys()).with_limits(limits).with_clock(ManualClock::at(NOW)).into_layer();
    let app = Router::new().route("/", on_post(async || "let in")).layer(layer);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
    address
}

/// Sends a part of the body, and waits.
fn stall(address: SocketAddr, request: &Request<&'static str>) -> String {
    let mut head = "POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n".to_owned();
    for (name, value) in request.headers() {
        head += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "{head}content-length: {}\r\n\r\n{}", request.body().len(), &request.body()[..3]).unwrap();
    // The rest of the body is awaited for 5 seconds more, so that the answer is read by its length.
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
async fn stalled_upload_over_a_socket_gets_its_answer() {
    let timeout = Duration::from_millis(200);
    let address = serve(Limits::new().with_form_timeout(timeout).with_body_timeout(timeout)).await;
    for request in bodies() {
        let answer = tokio::task::spawn_blocking(move || stall(address, &request)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("x-error-code: body_timeout") && answer.contains("within 0.2 s"), "{answer}");
    }
}
