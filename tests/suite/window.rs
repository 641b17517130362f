//! The time window, the retention of nonces, and clock steps.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use countersign::{
    RejectionKind, Verifier,
    clock::{Clock, ManualClock, SystemClock},
    server::UnverifiedBody,
    store::{DynNonceStore, MemoryNonceStore, NonceClaim, NonceStatus, NonceStore, Retention, StoreError},
};
use futures_util::stream;
use http_body::{Body, Frame};
use http_body_util::StreamBody;

use crate::rig::{self, NOW, get, keys, signed_by, signer, verifier};

#[test]
fn system_clock_advances() {
    let clock = SystemClock::new();
    let (monotonic, began) = (clock.monotonic(), Instant::now());
    while began.elapsed() < Duration::from_millis(2) {
        std::hint::spin_loop();
    }
    assert!(clock.monotonic() >= monotonic + Duration::from_millis(2));
}

#[tokio::test]
async fn both_bounds_of_the_window_are_inclusive() {
    let (verifier, _) = verifier();
    for (skew, code) in [
        (-301, "stale_timestamp"),
        (-300, "accepted"),
        (-1, "accepted"),
        (0, "accepted"),
        (299, "accepted"),
        (300, "accepted"),
        (301, "stale_timestamp"),
    ] {
        let request = signed_by(&signer(), NOW.checked_add_signed(skew).unwrap(), get("/"));
        assert_eq!(rig::code(&verifier, request).await, code, "{skew} s");
    }
}

#[tokio::test]
async fn clock_is_rounded_down_to_seconds() {
    let (verifier, clock) = verifier();
    clock.advance(Duration::from_millis(999));
    let request = signed_by(&signer(), NOW - 300, get("/"));
    assert_eq!(rig::code(&verifier, request.clone()).await, "accepted");
    let request = signed_by(&signer(), NOW - 300, get("/"));
    clock.advance(Duration::from_millis(1));
    assert_eq!(rig::code(&verifier, request).await, "stale_timestamp");
}

#[tokio::test]
async fn tolerance_is_configurable() {
    let verifier = verifier().0.with_tolerance(Duration::from_secs(5));
    for (skew, code) in [(-6, "stale_timestamp"), (-5, "accepted"), (5, "accepted"), (6, "stale_timestamp")] {
        let request = signed_by(&signer(), NOW.checked_add_signed(skew).unwrap(), get("/"));
        assert_eq!(rig::code(&verifier, request).await, code, "{skew} s");
    }
}

#[tokio::test]
async fn stale_rejection_has_the_server_time() {
    let (verifier, _) = verifier();
    let request = signed_by(&signer(), NOW - 412, get("/"));
    let rejection = rig::verify(&verifier, request).await.unwrap_err();
    assert_eq!(rejection.kind(), RejectionKind::StaleTimestamp);
    assert!(rejection.detail().contains("412 s behind"), "{rejection}");
    assert_eq!(rejection.to_response().headers()["x-server-time"], NOW.to_string());
}

/// A timestamp 300 s ahead is valid for 601 seconds. The request is rejected in each of them and afterwards.
#[tokio::test]
async fn request_stamped_ahead_is_accepted_once() {
    let (verifier, clock) = verifier();
    let request = signed_by(&signer(), NOW + 300, get("/"));
    assert_eq!(rig::code(&verifier, request.clone()).await, "accepted");
    for second in 0..1300 {
        let expected = if second <= 600 { "replayed_nonce" } else { "stale_timestamp" };
        assert_eq!(rig::code(&verifier, request.clone()).await, expected, "after {second} s");
        clock.advance(Duration::from_secs(1));
    }
}

/// Covers timestamps from the whole window, in their last second and after it.
#[tokio::test]
async fn nonces_are_kept_for_the_whole_window() {
    for skew in [-300, -299, -1, 0, 1, 150, 299, 300] {
        let (verifier, clock) = verifier();
        let timestamp = NOW.checked_add_signed(skew).unwrap();
        let request = signed_by(&signer(), timestamp, get("/"));
        assert_eq!(rig::code(&verifier, request.clone()).await, "accepted");
        clock.advance(Duration::from_secs(timestamp + 300 - NOW));
        assert_eq!(rig::code(&verifier, request.clone()).await, "replayed_nonce", "{skew} s: in the last second");
        clock.advance(Duration::from_secs(1));
        assert_eq!(rig::code(&verifier, request).await, "stale_timestamp", "{skew} s: after the last second");
    }
}

/// A body that advances the clock before its only frame.
struct Trickle {
    clock: ManualClock,
    takes: Duration,
    data: Option<Bytes>,
}

impl Body for Trickle {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let data = self.data.take();
        if data.is_some() {
            self.clock.advance(self.takes);
        }
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }
}

#[tokio::test]
async fn form_completed_after_the_window_is_stale() {
    for (takes, code) in [(10, "accepted"), (11, "stale_timestamp")] {
        for store in [Box::new(MemoryNonceStore::new()) as Box<dyn DynNonceStore>, Box::new(Recorder::default())] {
            let (verifier, clock) = rig::verifier_on(store);
            let request = signed_by(&signer(), NOW - 290, rig::form("/", "a=1&b=2"));
            let takes = Duration::from_secs(takes);
            let trickle = |data: &'static str| Trickle { clock, takes, data: Some(Bytes::from(data)) };
            let request = request.map(trickle).map(UnverifiedBody::new);
            let result = verifier.verify(request).await;
            let got = result.map_or_else(|rejection| rejection.kind().code(), |_| "accepted");
            assert_eq!(got, code, "after {takes:?}");
        }
    }
}

/// Sends enough requests that every shard of a memory store removes expired nonces.
async fn sweep<N: NonceStore>(verifier: &Verifier<countersign::StaticKeys, N>, now: u64) {
    for _ in 0..1000 {
        assert_eq!(rig::code(verifier, signed_by(&signer(), now, get("/"))).await, "accepted");
    }
}

#[tokio::test]
async fn clock_step_back_revives_no_nonce() {
    let (verifier, clock) = verifier();
    let request = signed_by(&signer(), NOW, get("/"));
    assert_eq!(rig::code(&verifier, request.clone()).await, "accepted");
    clock.advance(Duration::from_secs(301));
    sweep(&verifier, NOW + 301).await;
    clock.set_wall(NOW);
    assert_eq!(rig::code(&verifier, request.clone()).await, "stale_timestamp");
    clock.advance(Duration::from_secs(10));
    assert_eq!(rig::code(&verifier, request).await, "stale_timestamp");
    let fresh = signed_by(&signer(), NOW + 311, get("/"));
    assert_eq!(rig::code(&verifier, fresh).await, "accepted", "clients with correct clocks are still accepted");
}

#[tokio::test]
async fn clock_step_ahead_is_followed() {
    let (verifier, clock) = verifier();
    clock.set_wall(NOW + 86_400);
    let request = signed_by(&signer(), NOW + 86_400, get("/"));
    assert_eq!(rig::code(&verifier, request).await, "accepted");
    let request = signed_by(&signer(), NOW, get("/"));
    assert_eq!(rig::code(&verifier, request).await, "stale_timestamp");
}

fn restarted() -> Verifier<countersign::StaticKeys> {
    Verifier::new(keys()).with_clock(ManualClock::at(NOW))
}

#[tokio::test]
async fn restarted_process_rejects_earlier_requests() {
    let before = signed_by(&signer(), NOW - 1, get("/"));
    let rejection = rig::verify(&restarted(), before).await.unwrap_err();
    assert_eq!(rejection.kind(), RejectionKind::StaleTimestamp);
    assert_eq!(rejection.server_time(), Some(NOW));
    let at_start = signed_by(&signer(), NOW, get("/"));
    assert_eq!(rig::code(&restarted(), at_start).await, "accepted");
}

#[tokio::test]
async fn strict_restart_rejects_requests_stamped_ahead() {
    let clock = ManualClock::at(NOW);
    let verifier = Verifier::new(keys()).with_clock(clock.clone()).with_strict_restart();
    for ahead in [0, 1, 300] {
        let request = signed_by(&signer(), NOW + ahead, get("/"));
        assert_eq!(rig::code(&verifier, request).await, "stale_timestamp", "{ahead} s ahead");
    }
    clock.advance(Duration::from_secs(1));
    let request = signed_by(&signer(), NOW + 301, get("/"));
    assert_eq!(rig::code(&verifier, request).await, "accepted");
}

/// A store that outlives the process.
struct Shared(MemoryNonceStore);

impl NonceStore for Shared {
    async fn claim(&self, claim: &NonceClaim<'_>, retention: Retention) -> Result<NonceStatus, StoreError> {
        self.0.claim(claim, retention).await
    }

    fn is_persistent(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn persistent_store_ignores_the_process_start() {
    let verifier = restarted().with_nonces(Shared(MemoryNonceStore::new())).with_strict_restart();
    for skew in [-300, 0, 300] {
        let request = signed_by(&signer(), NOW.checked_add_signed(skew).unwrap(), get("/"));
        assert_eq!(rig::code(&verifier, request).await, "accepted", "{skew} s");
    }
}

/// The machine starts with a slow clock that is corrected a minute later.
#[tokio::test]
async fn start_with_a_slow_clock_is_corrected() {
    for strict in [false, true] {
        let clock = ManualClock::at(NOW - 1000);
        let verifier = Verifier::new(keys()).with_clock(clock.clone());
        let verifier = if strict { verifier.with_strict_restart() } else { verifier };
        clock.advance(Duration::from_secs(60));
        clock.set_wall(NOW + 60);
        let accepted_before_the_restart = signed_by(&signer(), NOW - 1, get("/"));
        assert_eq!(rig::code(&verifier, accepted_before_the_restart).await, "stale_timestamp");
        let fresh = signed_by(&signer(), NOW + 60, get("/"));
        let expected = if strict { "stale_timestamp" } else { "accepted" };
        assert_eq!(rig::code(&verifier, fresh).await, expected);
    }
}

/// A new service is built from a verifier that ran for an hour.
#[tokio::test]
async fn new_store_rejects_earlier_requests() {
    let (verifier, clock) = verifier();
    let request = signed_by(&signer(), NOW, get("/"));
    assert_eq!(rig::code(&verifier, request.clone()).await, "accepted");
    clock.advance(Duration::from_secs(10));
    let replaced = verifier.with_nonces(MemoryNonceStore::new());
    assert_eq!(rig::code(&replaced, request).await, "stale_timestamp");
    assert_eq!(rig::code(&replaced, signed_by(&signer(), NOW + 10, get("/"))).await, "accepted");
}

/// Two verifiers in one process share a store. The second is created after the wall clock stepped back.
#[tokio::test]
async fn store_keeps_the_latest_time_of_all_verifiers() {
    let store = std::sync::Arc::new(MemoryNonceStore::new());
    let clock = ManualClock::at(NOW);
    let verifier = Verifier::new(keys()).with_nonces(store.clone()).with_clock(clock.clone());
    let request = signed_by(&signer(), NOW, get("/"));
    assert_eq!(rig::code(&verifier, request.clone()).await, "accepted");
    clock.advance(Duration::from_secs(301));
    sweep(&verifier, NOW + 301).await;
    let late = Verifier::new(keys()).with_nonces(store).with_clock(ManualClock::at(NOW));
    assert_eq!(rig::code(&late, request).await, "stale_timestamp");
}

/// A tolerant and a strict verifier share a store.
#[tokio::test]
async fn nonces_are_retained_for_the_most_tolerant_process() {
    for (retention, expected) in [(None, "accepted"), (Some(301), "replayed_nonce")] {
        let store = std::sync::Arc::new(Shared(MemoryNonceStore::new()));
        let clock = ManualClock::at(NOW);
        // The store has no registry, so the verifiers do not know each other, like separate processes.
        let verifier = || Verifier::new(keys()).with_nonces(store.clone()).with_clock(clock.clone());
        let tolerant = verifier();
        let strict = verifier().with_tolerance(Duration::from_secs(30));
        let strict = match retention {
            Some(seconds) => strict.with_retention(Duration::from_secs(seconds)),
            None => strict,
        };
        let request = signed_by(&signer(), NOW, get("/"));
        assert_eq!(rig::code(&strict, request.clone()).await, "accepted");
        clock.advance(Duration::from_secs(30 + 1 + 60));
        assert_eq!(rig::code(&tolerant, request).await, expected, "{retention:?}");
    }
}

/// Records the retention of each claim.
#[derive(Default)]
struct Recorder(std::sync::Mutex<Vec<Retention>>, bool);

impl NonceStore for Recorder {
    async fn claim(&self, _: &NonceClaim<'_>, retention: Retention) -> Result<NonceStatus, StoreError> {
        self.0.lock().unwrap().push(retention);
        Ok(NonceStatus::New)
    }

    fn is_persistent(&self) -> bool {
        self.1
    }
}

#[tokio::test]
async fn shared_store_keeps_claims_longer() {
    for (shared, timestamp, ttl) in
        [(false, NOW - 300, 1), (false, NOW, 301), (false, NOW + 300, 601), (true, NOW + 300, 661)]
    {
        let recorder = std::sync::Arc::new(Recorder(std::sync::Mutex::default(), shared));
        let (verifier, _) = rig::verifier_on(recorder.clone());
        assert_eq!(rig::code(&verifier, signed_by(&signer(), timestamp, get("/"))).await, "accepted");
        let lifetimes = recorder.0.lock().unwrap();
        assert_eq!(lifetimes[0], Retention::new(NOW, NOW + ttl));
        assert_eq!(lifetimes[0].ttl(), Duration::from_secs(ttl));
    }
}

/// While a machine is suspended, the monotonic clock stops and the wall clock continues.
#[tokio::test]
async fn request_delayed_by_a_suspension_is_stale() {
    let clock = ManualClock::at(NOW);
    let in_keys = clock.clone();
    let keys = countersign::store::key_fn(move |_| {
        in_keys.set_wall(NOW + 301);
        std::future::ready(Ok::<_, std::convert::Infallible>(Some(rig::secret())))
    });
    let verifier = Verifier::new(keys).with_nonces(Recorder::default()).with_clock(clock);
    let rejection = verifier.verify(rig::incoming(signed_by(&signer(), NOW, get("/")))).await.unwrap_err();
    assert_eq!(rejection.kind().code(), "stale_timestamp");

    let (verifier, clock) = rig::verifier_on(Recorder::default());
    let request = signed_by(&signer(), NOW, rig::form("/", "a=1")).map(|data| {
        UnverifiedBody::new(StreamBody::new(stream::once(async move {
            clock.set_wall(NOW + 301);
            Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(data)))
        })))
    });
    let rejection = verifier.verify(request).await.unwrap_err();
    assert_eq!(rejection.kind().code(), "stale_timestamp");
}

/// The lookup advances the clock, as a blocking lookup does.
#[tokio::test]
async fn blocking_key_lookup_counts_toward_the_window() {
    let clock = ManualClock::at(NOW);
    let in_keys = clock.clone();
    let keys = countersign::store::key_fn(move |_| {
        in_keys.advance(Duration::from_secs(301));
        std::future::ready(Ok::<_, std::convert::Infallible>(Some(rig::secret())))
    });
    let verifier = Verifier::new(keys).with_nonces(Recorder::default()).with_clock(clock);
    let rejection = verifier.verify(rig::incoming(signed_by(&signer(), NOW, get("/")))).await.unwrap_err();
    assert_eq!(rejection.kind().code(), "stale_timestamp");
}

/// A store whose claim is interrupted by a pause of the machine. Meanwhile the claim of another machine expires.
struct Paused(ManualClock, Duration, bool);

impl NonceStore for Paused {
    async fn claim(&self, _: &NonceClaim<'_>, _: Retention) -> Result<NonceStatus, StoreError> {
        self.0.advance(self.1);
        Ok(NonceStatus::New)
    }

    fn is_persistent(&self) -> bool {
        self.2
    }
}

#[tokio::test]
async fn request_paused_during_its_claim_is_stale() {
    for (seconds, is_persistent, expected) in [
        (300, true, "accepted"),
        (301, true, "stale_timestamp"),
        (362, true, "stale_timestamp"),
        (362, false, "accepted"),
    ] {
        let clock = ManualClock::at(NOW);
        let store = Paused(clock.clone(), Duration::from_secs(seconds), is_persistent);
        let verifier = Verifier::new(keys()).with_nonces(store).with_clock(clock);
        let request = signed_by(&signer(), NOW, get("/"));
        assert_eq!(rig::code(&verifier, request).await, expected, "{seconds} s, {is_persistent}");
    }
}
