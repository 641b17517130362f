//! Time: the window, what is remembered for how long, and clocks that misbehave.

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
fn the_systems_clock_goes_on() {
    let clock = SystemClock::new();
    let (monotonic, began) = (clock.monotonic(), Instant::now());
    while began.elapsed() < Duration::from_millis(2) {
        std::hint::spin_loop();
    }
    assert!(clock.monotonic() >= monotonic + Duration::from_millis(2));
}

#[tokio::test]
async fn both_bounds_are_inside() {
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
async fn the_clock_counts_whole_seconds_rounded_down() {
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
async fn a_stale_answer_tells_the_servers_time() {
    let (verifier, _) = verifier();
    let request = signed_by(&signer(), NOW - 412, get("/"));
    let rejection = rig::verify(&verifier, request).await.unwrap_err();
    assert_eq!(rejection.kind(), RejectionKind::StaleTimestamp);
    assert!(rejection.detail().contains("412 s behind"), "{rejection}");
    assert_eq!(rejection.to_response().headers()["x-server-time"], NOW.to_string());
}

/// A timestamp 300 s ahead passes for 601 seconds. At none of them, nor ever after, does it pass again.
#[tokio::test]
async fn a_request_stamped_ahead_is_never_let_in_twice() {
    let (verifier, clock) = verifier();
    let request = signed_by(&signer(), NOW + 300, get("/"));
    assert_eq!(rig::code(&verifier, request.clone()).await, "accepted");
    for second in 0..1300 {
        let expected = if second <= 600 { "replayed_nonce" } else { "stale_timestamp" };
        assert_eq!(rig::code(&verifier, request.clone()).await, expected, "after {second} s");
        clock.advance(Duration::from_secs(1));
    }
}

/// The same from every side of the window, at its last moments.
#[tokio::test]
async fn no_side_of_the_window_forgets_early() {
    for skew in [-300, -299, -1, 0, 1, 150, 299, 300] {
        let (verifier, clock) = verifier();
        let timestamp = NOW.checked_add_signed(skew).unwrap();
        let request = signed_by(&signer(), timestamp, get("/"));
        assert_eq!(rig::code(&verifier, request.clone()).await, "accepted");
        clock.advance(Duration::from_secs(timestamp + 300 - NOW));
        assert_eq!(rig::code(&verifier, request.clone()).await, "replayed_nonce", "{skew} s: in the last second");
        clock.advance(Duration::from_secs(1));
        assert_eq!(rig::code(&verifier, request).await, "stale_timestamp", "{skew} s: after it");
    }
}

/// A body that lets time pass before its only frame.
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
async fn a_form_that_trickles_past_the_windows_end_is_stale() {
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

/// Has so many requests let in that every part of a memory store forgets what has expired.
async fn sweep<N: NonceStore>(verifier: &Verifier<countersign::StaticKeys, N>, now: u64) {
    for _ in 0..1000 {
        assert_eq!(rig::code(verifier, signed_by(&signer(), now, get("/"))).await, "accepted");
    }
}

#[tokio::test]
async fn a_clock_set_back_brings_no_nonce_back_to_life() {
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
    assert_eq!(rig::code(&verifier, fresh).await, "accepted", "honest clocks go on being served");
}

#[tokio::test]
async fn a_clock_set_ahead_is_followed() {
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
async fn a_restarted_process_refuses_what_it_may_have_forgotten() {
    let before = signed_by(&signer(), NOW - 1, get("/"));
    let rejection = rig::verify(&restarted(), before).await.unwrap_err();
    assert_eq!(rejection.kind(), RejectionKind::StaleTimestamp);
    assert_eq!(rejection.server_time(), Some(NOW));
    let at_birth = signed_by(&signer(), NOW, get("/"));
    assert_eq!(rig::code(&restarted(), at_birth).await, "accepted");
}

#[tokio::test]
async fn a_strict_restart_refuses_what_was_stamped_ahead_of_it() {
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

/// A store that lives on elsewhere.
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

/// The machine starts with a slow clock, which is set right a minute later.
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

/// A service that is set up anew from a verifier that ran for an hour.
#[tokio::test]
async fn a_new_store_remembers_from_when_it_was_given() {
    let (verifier, clock) = verifier();
    let request = signed_by(&signer(), NOW, get("/"));
    assert_eq!(rig::code(&verifier, request.clone()).await, "accepted");
    clock.advance(Duration::from_secs(10));
    let anew = verifier.with_nonces(MemoryNonceStore::new());
    assert_eq!(rig::code(&anew, request).await, "stale_timestamp");
    assert_eq!(rig::code(&anew, signed_by(&signer(), NOW + 10, get("/"))).await, "accepted");
}

/// Two verifiers in one process share a store; the second is made after the wall clock stepped back.
#[tokio::test]
async fn a_store_remembers_the_latest_time_that_any_verifier_told() {
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
        // The store tells neither of the other, as if they were processes.
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

/// What the store was asked to do, and for how long.
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

/// The monotonic clock of a suspended machine stands still, and its wall does not.
#[tokio::test]
async fn what_waited_on_a_suspended_machine_is_stale() {
    let clock = ManualClock::at(NOW);
    let in_keys = clock.clone();
    let keys = countersign::store::key_fn(move |_| {
        in_keys.set_wall(NOW + 301);
        std::future::ready(Ok::<_, std::convert::Infallible>(Some(rig::secret())))
    });
    let verifier = Verifier::new(keys).with_nonces(Recorder::default()).with_clock(clock);
    let rejection = verifier.verify(rig::arriving(signed_by(&signer(), NOW, get("/")))).await.unwrap_err();
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

/// As one does that blocks.
#[tokio::test]
async fn blocking_key_lookup_counts_toward_the_window() {
    let clock = ManualClock::at(NOW);
    let in_keys = clock.clone();
    let keys = countersign::store::key_fn(move |_| {
        in_keys.advance(Duration::from_secs(301));
        std::future::ready(Ok::<_, std::convert::Infallible>(Some(rig::secret())))
    });
    let verifier = Verifier::new(keys).with_nonces(Recorder::default()).with_clock(clock);
    let rejection = verifier.verify(rig::arriving(signed_by(&signer(), NOW, get("/")))).await.unwrap_err();
    assert_eq!(rejection.kind().code(), "stale_timestamp");
}

/// Lets the machine stand still while a claim is on its way, after which another machine's claim has ended.
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
async fn a_machine_that_stood_still_lets_nothing_in() {
    for (seconds, outlives, expected) in [
        (300, true, "accepted"),
        (301, true, "stale_timestamp"),
        (362, true, "stale_timestamp"),
        (362, false, "accepted"),
    ] {
        let clock = ManualClock::at(NOW);
        let store = Paused(clock.clone(), Duration::from_secs(seconds), outlives);
        let verifier = Verifier::new(keys()).with_nonces(store).with_clock(clock);
        let request = signed_by(&signer(), NOW, get("/"));
        assert_eq!(rig::code(&verifier, request).await, expected, "{seconds} s, {outlives}");
    }
}
