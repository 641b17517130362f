//! Replay protection: the contract of nonce stores, and the verifier's use of it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use countersign::{
    App, AppId, KeyRing, RejectionKind, Secret, StaticKeys, Verifier,
    server::UnverifiedBody,
    store::{
        DynKeyStore, DynNonceStore, KeyStore, MemoryNonceStore, NonceClaim, NonceStatus, NonceStore, OwnerTag, Purpose,
        Retention, StoreError, conformance, key_fn,
    },
};
use http::Request;

use crate::rig::{self, NOW, get, keys, signed, signed_by, signer, verifier};

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn memory_store_conforms() {
    conformance::nonce_store(MemoryNonceStore::new).await;
    conformance::bounded_nonce_store(MemoryNonceStore::with_capacity).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn pointers_to_stores_conform() {
    conformance::nonce_store(|| Arc::new(MemoryNonceStore::new())).await;
    conformance::nonce_store(|| Box::new(MemoryNonceStore::new())).await;
    conformance::nonce_store(|| Arc::new(MemoryNonceStore::new()) as Arc<dyn DynNonceStore>).await;
    conformance::nonce_store(|| Box::new(MemoryNonceStore::new()) as Box<dyn DynNonceStore>).await;
}

/// A store with this value of `is_persistent`.
struct Persistence(bool);

impl NonceStore for Persistence {
    async fn claim(&self, _: &NonceClaim<'_>, _: Retention) -> Result<NonceStatus, StoreError> {
        Ok(NonceStatus::New)
    }

    fn is_persistent(&self) -> bool {
        self.0
    }
}

#[test]
fn pointers_to_stores_forward_is_persistent() {
    for is_persistent in [true, false] {
        assert_eq!(Arc::new(Persistence(is_persistent)).is_persistent(), is_persistent);
        assert_eq!(Box::new(Persistence(is_persistent)).is_persistent(), is_persistent);
        assert_eq!((Arc::new(Persistence(is_persistent)) as Arc<dyn DynNonceStore>).is_persistent(), is_persistent);
        assert_eq!((Box::new(Persistence(is_persistent)) as Box<dyn DynNonceStore>).is_persistent(), is_persistent);
    }
}

#[tokio::test]
async fn key_stores_conform() {
    let (known, unknown) = ("demo".parse().unwrap(), "stranger".parse().unwrap());
    conformance::key_store(&keys(), &known, &unknown).await;
    conformance::key_store(&(Arc::new(keys()) as Arc<dyn DynKeyStore>), &known, &unknown).await;
    conformance::key_store(&(Box::new(keys()) as Box<dyn DynKeyStore>), &known, &unknown).await;
    let store = key_fn(|app: AppId| async move { Ok::<_, StoreError>((app.as_str() == "demo").then(rig::secret)) });
    conformance::key_store(&store, &known, &unknown).await;
}

/// The conformance suite rejects stores that break the contract.
mod broken {
    use std::{
        collections::{HashMap, hash_map::Entry},
        sync::Mutex,
    };

    use tokio::task::JoinHandle;

    use super::*;

    /// Runs the suite and returns the message of the check that failed, or "" if all passed.
    async fn failure<S: NonceStore>(new: impl Fn() -> S + Send + Sync + 'static) -> String {
        message(tokio::spawn(async move { conformance::nonce_store(new).await })).await
    }

    async fn message(suite: JoinHandle<()>) -> String {
        let Err(error) = suite.await else { return String::new() };
        let panic = error.into_panic();
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        text.or_else(|| panic.downcast_ref().cloned()).expect("a panic with a message")
    }

    #[track_caller]
    fn expect(message: &str, failure: String) {
        assert!(failure.contains(message), "expected a failure with {message:?}: {failure:?}");
    }

    /// The expiry by key.
    type Claims = HashMap<String, u64>;

    /// Reads and writes without holding the lock in between.
    #[derive(Default)]
    struct Racy(Mutex<Claims>);

    impl NonceStore for Racy {
        async fn claim(&self, claim: &NonceClaim<'_>, retention: Retention) -> Result<NonceStatus, StoreError> {
            let key = claim.key().to_string();
            let live = self.0.lock().unwrap().get(&key).is_some_and(|until| *until > retention.now());
            // Gives the other tasks time to read, even with few threads.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            if live {
                return Ok(NonceStatus::Replayed);
            }
            self.0.lock().unwrap().insert(key, retention.until());
            Ok(NonceStatus::New)
        }
    }

    /// Joins app id and nonce with a separator.
    struct Joined(&'static str, MemoryNonceStore);

    impl NonceStore for Joined {
        async fn claim(&self, claim: &NonceClaim<'_>, retention: Retention) -> Result<NonceStatus, StoreError> {
            let joined = format!("{}{}{}", claim.app_id(), self.0, claim.nonce()).parse().unwrap();
            let all = "all".parse().unwrap();
            self.1.claim(&NonceClaim::new(&all, &joined).with_purpose(claim.purpose()), retention).await
        }
    }

    /// Ignores the purpose.
    struct WithoutPurpose(MemoryNonceStore);

    impl NonceStore for WithoutPurpose {
        async fn claim(&self, claim: &NonceClaim<'_>, retention: Retention) -> Result<NonceStatus, StoreError> {
            self.0.claim(&NonceClaim::new(claim.app_id(), claim.nonce()), retention).await
        }
    }

    /// Stores links under one app, instead of under a separate purpose.
    struct PurposeAsApp(MemoryNonceStore);

    impl NonceStore for PurposeAsApp {
        async fn claim(&self, claim: &NonceClaim<'_>, retention: Retention) -> Result<NonceStatus, StoreError> {
            let link = "link".parse().unwrap();
            let app = if claim.purpose() == Purpose::Link { &link } else { claim.app_id() };
            self.0.claim(&NonceClaim::new(app, claim.nonce()), retention).await
        }
    }

    /// Keeps a set of nonces for each user.
    #[derive(Default)]
    struct ByUser(Mutex<HashMap<Option<OwnerTag>, Arc<MemoryNonceStore>>>);

    impl NonceStore for ByUser {
        async fn claim(&self, claim: &NonceClaim<'_>, retention: Retention) -> Result<NonceStatus, StoreError> {
            let store = self.0.lock().unwrap().entry(claim.owner().copied()).or_default().clone();
            store.claim(claim, retention).await
        }
    }

    /// Keeps each nonce for this many seconds from now, for any timestamp.
    struct FixedTtl(u64, MemoryNonceStore);

    impl NonceStore for FixedTtl {
        async fn claim(&self, claim: &NonceClaim<'_>, retention: Retention) -> Result<NonceStatus, StoreError> {
            self.1.claim(claim, Retention::new(retention.now(), retention.now() + self.0)).await
        }
    }

    /// Forgets nonces `early` seconds too early. Reports a claim as expired if it ends by the second that `is_late_at`
    /// returns for the `now` of the claim and the latest `now`.
    struct EarlyExpiry {
        early: u64,
        is_late_at: fn(u64, u64) -> u64,
        claims: Mutex<(u64, Claims)>,
    }

    impl EarlyExpiry {
        fn new(early: u64, is_late_at: fn(u64, u64) -> u64) -> Self {
            Self { early, is_late_at, claims: Mutex::default() }
        }
    }

    impl NonceStore for EarlyExpiry {
        async fn claim(&self, claim: &NonceClaim<'_>, retention: Retention) -> Result<NonceStatus, StoreError> {
            let (latest, claims) = &mut *self.claims.lock().unwrap();
            *latest = retention.now().max(*latest);
            if retention.until() <= (self.is_late_at)(retention.now(), *latest) {
                return Ok(NonceStatus::Expired);
            }
            claims.retain(|_, until| *until > retention.now() + self.early);
            Ok(match claims.entry(claim.key().to_string()) {
                Entry::Occupied(_) => NonceStatus::Replayed,
                Entry::Vacant(vacant) => {
                    vacant.insert(retention.until());
                    NonceStatus::New
                }
            })
        }
    }

    /// Runs on one thread. `yield_now` determines the order of the tasks, so every run has the race.
    #[tokio::test]
    async fn broken_nonce_stores_fail_the_suite() {
        let memory = MemoryNonceStore::new;
        expect("claims on 500 nonces were first", failure(Racy::default).await);
        for separator in ["", ".", "-", "_"] {
            expect("met another pair", failure(move || Joined(separator, memory())).await);
        }
        expect("met one for another purpose", failure(move || WithoutPurpose(memory())).await);
        expect("met a link of another app", failure(move || PurposeAsApp(memory())).await);
        expect("used a nonce of the app again", failure(ByUser::default).await);
        expect("a claim was dead", failure(move || FixedTtl(300, memory())).await);
        assert_eq!(failure(|| EarlyExpiry::new(0, |_, latest| latest)).await, "");
        expect("a claim was dead 1 s before its end", failure(|| EarlyExpiry::new(1, |_, latest| latest)).await);
        expect("the second time after its end", failure(|| EarlyExpiry::new(0, |_, _| 0)).await);
        expect("the second time after its end", failure(|| EarlyExpiry::new(0, |now, _| now)).await);
    }

    async fn bounded_failure<S: NonceStore>(new: impl Fn(usize) -> S + Send + Sync + 'static) -> String {
        message(tokio::spawn(async move { conformance::bounded_nonce_store(new).await })).await
    }

    #[tokio::test]
    async fn broken_bounded_stores_fail_the_suite() {
        let of = MemoryNonceStore::with_capacity;
        assert_eq!(bounded_failure(of).await, "");
        expect("took more than it holds", bounded_failure(move |size| of(size * 2)).await);
        expect("the store was full with", bounded_failure(move |size| of(size / 4)).await);
        expect("a full store forgot a live nonce", bounded_failure(move |size| FixedTtl(600, of(size))).await);
        expect("the store failed", bounded_failure(move |size| FixedTtl(700, of(size))).await);
    }
}

/// Claims a nonce synchronously. The future of the memory store never waits.
fn claim(store: &MemoryNonceStore, app: &str, nonce: &str, now: u64, until: u64) -> Result<NonceStatus, StoreError> {
    let (app, nonce) = (app.parse().unwrap(), nonce.parse().unwrap());
    futures_util::FutureExt::now_or_never(store.claim(&NonceClaim::new(&app, &nonce), Retention::new(now, until)))
        .unwrap()
}

#[test]
fn racing_threads_claim_each_nonce_once() {
    const NONCES: usize = 100_000;
    let store = MemoryNonceStore::new();
    let wins: Vec<AtomicUsize> = (0..NONCES).map(|_| AtomicUsize::new(0)).collect();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for (n, wins) in wins.iter().enumerate() {
                    if claim(&store, "demo", &format!("nonce-{n}"), NOW, NOW + 601).unwrap() == NonceStatus::New {
                        wins.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert!(wins.iter().all(|wins| wins.load(Ordering::Relaxed) == 1));
    assert_eq!(store.len(), NONCES);
}

/// The timestamps cover the whole window. While unsynchronized threads claim the nonces again, the clock passes through
/// the rest of the window.
#[test]
fn million_replayed_nonces_are_rejected() {
    const NONCES: u64 = 1_000_000;
    const THREADS: u64 = 4;
    let store = MemoryNonceStore::new();
    let claim_all = |clock: fn(u64) -> u64| {
        let count = |thread| {
            let mine = (0..NONCES).skip(thread as usize).step_by(THREADS as usize);
            let firsts = mine.filter(|n| {
                let stamp = NOW - 300 + n % 601;
                claim(&store, "demo", &format!("nonce-{n}"), clock(*n), stamp + 301).unwrap() == NonceStatus::New
            });
            firsts.count() as u64
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || count(thread))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<u64>()
        })
    };
    assert_eq!(claim_all(|_| NOW), NONCES);
    assert_eq!(claim_all(|n| NOW + n * 601 / NONCES), 0);
}

/// Uses a million requests with `--release`.
#[test]
fn replayed_requests_are_rejected() {
    const REQUESTS: u64 = if cfg!(debug_assertions) { 10_000 } else { 1_000_000 };
    let (verifier, clock) = verifier();
    let signer = signer();
    let send_all = || {
        let mut codes = BTreeMap::new();
        for n in 0..REQUESTS {
            let (mut parts, ()) = Request::get("/").body(()).unwrap().into_parts();
            let (stamp, nonce) = ((NOW - 300 + n % 601).try_into().unwrap(), format!("nonce-{n}").parse().unwrap());
            signer.sign_at(&mut parts, countersign::Payload::Bytes(b""), stamp, nonce).unwrap();
            let code = rig::code(&verifier, Request::from_parts(parts, ""));
            *codes.entry(futures_util::FutureExt::now_or_never(code).unwrap()).or_insert(0) += 1;
        }
        codes
    };
    let stale_at = |age: u64| (0..REQUESTS).filter(|n| n % 601 < age).count() as u64;
    assert_eq!(send_all(), BTreeMap::from([("accepted", REQUESTS)]));
    assert_eq!(send_all(), BTreeMap::from([("replayed_nonce", REQUESTS)]));
    clock.advance(Duration::from_secs(150));
    let codes = BTreeMap::from([("replayed_nonce", REQUESTS - stale_at(150)), ("stale_timestamp", stale_at(150))]);
    assert_eq!(send_all(), codes);
    clock.advance(Duration::from_secs(450));
    let codes = BTreeMap::from([("replayed_nonce", REQUESTS - stale_at(600)), ("stale_timestamp", stale_at(600))]);
    assert_eq!(send_all(), codes);
}

#[test]
fn memory_is_freed_after_expiry() {
    const NONCES: usize = 200_000;
    let store = MemoryNonceStore::new();
    for n in 0..NONCES {
        claim(&store, "demo", &format!("nonce-{n}"), NOW, NOW + 601).unwrap();
    }
    let full = store.allocated_bytes();
    assert!(full <= NONCES * 40, "{} bytes a live nonce", full as f64 / NONCES as f64);
    for n in 0..32 {
        claim(&store, "demo", &format!("later-{n}"), NOW + 601, NOW + 1202).unwrap();
    }
    assert_eq!(store.len(), 32, "expired nonces are removed without a background task");
    assert!(store.allocated_bytes() < full / 100, "{} of {full} bytes are left", store.allocated_bytes());
}

#[test]
fn each_claim_frees_a_small_part() {
    const NONCES: usize = 10_000;
    let store = MemoryNonceStore::new();
    for n in 0..NONCES {
        claim(&store, "demo", &format!("nonce-{n}"), NOW, NOW + 601).unwrap();
    }
    assert!(!store.is_empty());
    claim(&store, "demo", "nonce-later", NOW + 601, NOW + 1202).unwrap();
    assert!(store.len() < NONCES, "a claim frees some memory");
    assert!(store.len() > NONCES * 9 / 10, "a claim does not free all of it: {} of {NONCES} are left", store.len());
}

#[test]
fn churn_loses_no_nonce_and_bounds_memory() {
    let store = MemoryNonceStore::new();
    let mut largest = 0;
    // 500 nonces a second for 20 minutes. Each is claimed again at the beginning, middle and end of its lifetime.
    for second in 0..1200 {
        let now = NOW + second;
        for n in 0..500 {
            assert_eq!(
                claim(&store, "demo", &format!("nonce-{second}-{n}"), now, now + 100).unwrap(),
                NonceStatus::New
            );
        }
        for (age, expected) in [(0, NonceStatus::Replayed), (50, NonceStatus::Replayed), (99, NonceStatus::Replayed)] {
            if let Some(then) = second.checked_sub(age) {
                let n = format!("nonce-{then}-{}", second % 500);
                assert_eq!(claim(&store, "demo", &n, now, now + 1).unwrap(), expected, "after {age} s");
            }
        }
        largest = largest.max(store.allocated_bytes());
    }
    assert!(largest < 500 * 200 * 40, "{largest} bytes for about 50,000 live nonces");
}

#[test]
fn unrepresentable_times_fail_closed() {
    let store = MemoryNonceStore::new();
    for until in [1 << 34, u64::MAX] {
        assert!(claim(&store, "demo", "nonce-1", until - 1, until).is_err());
    }
    assert!(claim(&store, "demo", "nonce-1", u64::MAX, 0).is_err());
    for until in [0, NOW - 1, NOW] {
        assert_eq!(claim(&store, "demo", "nonce-1", NOW, until).unwrap(), NonceStatus::Expired);
    }
    assert!(store.is_empty());
}

#[tokio::test]
async fn full_store_returns_503_until_expiry() {
    let (verifier, clock) = verifier();
    let verifier = verifier.with_nonces(MemoryNonceStore::with_capacity(80));
    clock.advance(Duration::from_secs(1));
    let request = |now| signed_by(&signer(), now, get("/"));
    let first = request(NOW + 1);
    assert_eq!(rig::code(&verifier, first.clone()).await, "accepted");
    for _ in 1..60 {
        assert_eq!(rig::code(&verifier, request(NOW + 1)).await, "accepted");
    }
    let rejection = rig::verify(&verifier, request(NOW + 1)).await.unwrap_err();
    assert_eq!(rejection.kind(), RejectionKind::Unavailable);
    let response = rejection.to_response();
    assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (503, &"1".parse().unwrap()));
    assert_eq!(rig::code(&verifier, first).await, "replayed_nonce", "a full store evicts no live nonce");
    clock.advance(Duration::from_secs(301));
    for _ in 0..60 {
        assert_eq!(rig::code(&verifier, request(NOW + 302)).await, "accepted");
    }
}

#[tokio::test]
async fn forged_requests_claim_no_nonces() {
    let (verifier, _) = verifier();
    let store = Arc::new(MemoryNonceStore::new());
    let verifier = verifier.with_nonces(store.clone());
    let valid = signed_by(&signer(), NOW, get("/"));
    let mut forged = valid.clone();
    *forged.uri_mut() = "/other".parse().unwrap();
    for _ in 0..100 {
        assert_eq!(rig::code(&verifier, forged.clone()).await, "invalid_signature");
    }
    assert!(store.is_empty(), "a forged request stores nothing");
    assert_eq!(rig::code(&verifier, valid).await, "accepted");
}

#[tokio::test]
async fn two_apps_can_use_the_same_nonce() {
    let (verifier, _) = verifier();
    let other = countersign::Signer::new("other".parse().unwrap(), Secret::new("f".repeat(32)).unwrap());
    for signer in [signer(), other] {
        let (mut parts, ()) = Request::get("/").body(()).unwrap().into_parts();
        let payload = countersign::Payload::Bytes(b"");
        signer.sign_at(&mut parts, payload, NOW.try_into().unwrap(), "the-same".parse().unwrap()).unwrap();
        assert_eq!(rig::code(&verifier, Request::from_parts(parts, "")).await, "accepted");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_copies_are_accepted_once() {
    let (verifier, _) = verifier();
    for _ in 0..50 {
        let request = signed(get("/"));
        let racers = (0..16).map(|_| {
            let (verifier, request) = (verifier.clone(), request.clone());
            tokio::spawn(async move { rig::code(&verifier, request).await })
        });
        let mut accepted = 0;
        for racer in racers.collect::<Vec<_>>() {
            accepted += usize::from(racer.await.unwrap() == "accepted");
        }
        assert_eq!(accepted, 1);
    }
}

pub(crate) struct FailingStore;

impl NonceStore for FailingStore {
    async fn claim(&self, _: &NonceClaim<'_>, _: Retention) -> Result<NonceStatus, StoreError> {
        Err(StoreError::new("connection refused by 10.1.2.3"))
    }
}

impl KeyStore for FailingStore {
    async fn keys(&self, _: &AppId) -> Result<Option<App>, StoreError> {
        Err(StoreError::new("connection refused by 10.1.2.3"))
    }
}

#[tokio::test]
async fn failed_store_returns_503() {
    let (verifier, _) = verifier();
    let rejection = rig::verify(&verifier.clone().with_nonces(FailingStore), signed(get("/"))).await.unwrap_err();
    let keyless = Verifier::new(FailingStore).with_clock(countersign::clock::ManualClock::at(NOW));
    let request = signed(get("/")).map(|body| UnverifiedBody::new(body.to_owned()));
    let other = keyless.verify(request).await.unwrap_err();
    for rejection in [rejection, other] {
        assert_eq!(rejection.kind(), RejectionKind::Unavailable);
        let store_error = std::error::Error::source(&rejection).expect("the store's error");
        let source = store_error.source().expect("operators see the cause").to_string();
        assert!(source.contains("10.1.2.3"));
        let response = rejection.to_response();
        assert_eq!(response.status(), 503);
        assert!(!String::from_utf8_lossy(response.body()).contains("10.1.2.3"), "callers must not see the cause");
    }
}

#[tokio::test]
async fn only_active_keys_verify() {
    let secrets = ["a", "b", "c", "d"].map(|letter| Secret::new(letter.repeat(32)).unwrap());
    let keys = StaticKeys::new([("demo".parse().unwrap(), KeyRing::new(secrets.clone()).unwrap())]).unwrap();
    let verifier = Verifier::new(keys).with_clock(countersign::clock::ManualClock::at(NOW));
    for (index, secret) in secrets.into_iter().enumerate() {
        let signer = countersign::Signer::new("demo".parse().unwrap(), secret);
        let verified = rig::verify(&verifier, signed_by(&signer, NOW, get("/"))).await.unwrap();
        assert_eq!(verified.extensions().get::<countersign::Caller>().unwrap().key_index(), index);
    }
    let retired = countersign::Signer::new("demo".parse().unwrap(), Secret::new("e".repeat(32)).unwrap());
    assert_eq!(rig::code(&verifier, signed_by(&retired, NOW, get("/"))).await, "invalid_signature");
}
