//! The wall clock steps, and no request is accepted twice.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use countersign::{
    Payload, StaticKeys, Verifier,
    clock::{Clock, ManualClock},
    store::{MemoryNonceStore, NonceClaim, NonceStatus, NonceStore, RedisNonceStore, Retention, StoreError},
};
use futures_util::FutureExt;
use http::Request;
use proptest::prelude::*;

use crate::{
    redis::server::RedisServer,
    rig::{self, NOW, code, get, signed_by, signer, verifier, verifier_on},
};

fn fresh(timestamp: u64) -> Request<&'static str> {
    signed_by(&signer(), timestamp, get("/"))
}

#[tokio::test]
async fn brief_clock_step_has_no_lasting_effect() {
    let (verifier, clock) = verifier();
    assert_eq!(code(&verifier, fresh(NOW)).await, "accepted");
    clock.set_wall(NOW + 3600);
    assert_eq!(code(&verifier, fresh(NOW)).await, "stale_timestamp", "the verifier follows a forward step");
    assert_eq!(code(&verifier, fresh(NOW + 3600)).await, "accepted");
    clock.set_wall(NOW);
    assert_eq!(code(&verifier, fresh(NOW)).await, "accepted");
    assert_eq!(code(&verifier, fresh(NOW + 3600)).await, "stale_timestamp");
}

#[tokio::test]
async fn four_minute_clock_step_has_no_lasting_effect() {
    let (verifier, clock) = verifier();
    for (seconds, hour) in [(0, 0), (0, 3600), (240, 3600), (240, 0), (300, 0)] {
        while clock.monotonic().as_secs() < 3600 + seconds {
            clock.advance(Duration::from_secs(10));
            assert_ne!(code(&verifier, fresh(clock.wall().as_secs())).await, "unavailable");
        }
        clock.set_wall(NOW + seconds + hour);
        assert_eq!(code(&verifier, fresh(NOW + seconds + hour)).await, "accepted", "{seconds} s, {hour} s ahead");
    }
}

/// The nonce of a request accepted during the step is kept until the request's own window has passed.
#[tokio::test]
async fn request_during_a_clock_step_is_accepted_once() {
    let (verifier, clock) = verifier();
    clock.set_wall(NOW + 3600);
    let during_step = fresh(NOW + 3600);
    assert_eq!(code(&verifier, during_step.clone()).await, "accepted");
    clock.set_wall(NOW);
    for second in (0..4000).step_by(10) {
        // Enough claims to sweep every shard of the store.
        for _ in 0..40 {
            code(&verifier, fresh(NOW + second)).await;
        }
        let expected = match second {
            3300..=3900 => "replayed_nonce",
            _ => "stale_timestamp",
        };
        assert_eq!(code(&verifier, during_step.clone()).await, expected, "after {second} s");
        clock.advance(Duration::from_secs(10));
    }
}

/// The store is sized for 601 seconds of requests, as its documentation recommends.
#[tokio::test]
async fn permanent_clock_step_needs_no_larger_store() {
    const PER_SECOND: u64 = 10;
    let clock = ManualClock::at(NOW - 3600);
    let store = MemoryNonceStore::with_capacity((PER_SECOND * 601 * 4 / 3) as usize);
    let verifier = Verifier::new(rig::keys()).with_nonces(store).with_clock(clock.clone());
    clock.advance(Duration::from_secs(3600));
    let mut ahead = 0;
    for second in 0..2000 {
        if second == 700 {
            ahead = 86_400;
            clock.set_wall(NOW + second + ahead);
        }
        for _ in 0..PER_SECOND {
            assert_eq!(code(&verifier, fresh(NOW + second + ahead)).await, "accepted", "after {second} s");
        }
        clock.advance(Duration::from_secs(1));
    }
}

/// The TTL reaches to the end of the request's window, measured by the correct time.
#[tokio::test]
async fn redis_ttl_covers_a_clock_step() {
    let server = RedisServer::start();
    let clock = ManualClock::at(NOW);
    let store = RedisNonceStore::new(redis::Client::open(server.url()).unwrap());
    let verifier = Verifier::new(rig::keys()).with_nonces(store).with_clock(clock.clone());
    clock.set_wall(NOW + 3600);
    let (mut parts, ()) = Request::get("/").body(()).unwrap().into_parts();
    let (timestamp, nonce) = ((NOW + 3600).try_into().unwrap(), "of-the-step".parse().unwrap());
    signer().sign_at(&mut parts, Payload::Bytes(b""), timestamp, nonce).unwrap();
    assert_eq!(code(&verifier, Request::from_parts(parts, "")).await, "accepted");
    let left: i64 = server.command(&["TTL", "cs1:demo/of-the-step"]);
    assert!((3600 + 361 - 5..=3600 + 361).contains(&left), "{left} s");
}

/// A store that expires nonces by its own clock, which continues while this machine is suspended.
#[derive(Clone, Default)]
struct ExternalStore(Arc<Mutex<HashSet<String>>>);

impl NonceStore for ExternalStore {
    async fn claim(&self, claim: &NonceClaim<'_>, _: Retention) -> Result<NonceStatus, StoreError> {
        let is_first = self.0.lock().unwrap().insert(claim.nonce().to_string());
        Ok(if is_first { NonceStatus::New } else { NonceStatus::Replayed })
    }

    fn is_persistent(&self) -> bool {
        true
    }
}

/// The machine was suspended for an hour. Afterwards the wall clock is set back by that hour.
#[tokio::test]
async fn suspended_machine_accepts_no_request_twice() {
    let store = ExternalStore::default();
    let (verifier, clock) = verifier_on(store.clone());
    let request = fresh(NOW);
    assert_eq!(code(&verifier, request.clone()).await, "accepted");
    clock.set_wall(NOW + 3600);
    store.0.lock().unwrap().clear();
    assert_eq!(code(&verifier, fresh(NOW + 3600)).await, "accepted", "after the resume");
    clock.set_wall(NOW);
    for second in 0..=661 {
        assert_eq!(code(&verifier, request.clone()).await, "stale_timestamp", "after {second} s");
        clock.advance(Duration::from_secs(1));
    }
    assert_eq!(code(&verifier, request).await, "stale_timestamp");
    assert_eq!(code(&verifier, fresh(NOW + 662)).await, "accepted", "the verifier follows the wall clock again");
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Advance(u64),
    /// Sets the wall clock this many seconds from the correct time.
    StepWall(i64),
    /// Sends a request whose timestamp differs from the wall clock by this many seconds.
    Send(i64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let step = prop_oneof![Just(0), Just(3600), Just(-3600), Just(400), -2000_i64..4000];
    let skew = prop_oneof![Just(0), Just(-300), Just(300), -330_i64..330];
    let advance = prop_oneof![0_u64..20, 0_u64..700];
    let event = prop_oneof![
        2 => advance.prop_map(Event::Advance),
        2 => step.prop_map(Event::StepWall),
        6 => skew.prop_map(Event::Send),
    ];
    proptest::collection::vec(event, 1..120)
}

/// Sends the one request of this span of ten seconds. Returns its timestamp if it is accepted.
fn send_pooled(verifier: &Verifier<StaticKeys>, timestamp: u64) -> Option<u64> {
    let timestamp = timestamp / 10 * 10;
    let (mut parts, ()) = Request::get("/").body(()).unwrap().into_parts();
    let nonce = format!("nonce-{timestamp}").parse().unwrap();
    signer().sign_at(&mut parts, Payload::Bytes(b""), timestamp.try_into().unwrap(), nonce).unwrap();
    let request = Request::from_parts(parts, "");
    (code(verifier, request).now_or_never().unwrap() == "accepted").then_some(timestamp)
}

proptest! {
    #[test]
    fn clock_steps_accept_no_request_twice(events in events()) {
        let clock = ManualClock::at(NOW);
        let verifier = Verifier::new(rig::keys()).with_clock(clock.clone());
        let mut accepted = HashSet::new();
        let mut ahead = 0;
        for event in events {
            let passed = clock.monotonic().as_secs();
            match event {
                Event::Advance(seconds) => clock.advance(Duration::from_secs(seconds)),
                Event::StepWall(seconds) => {
                    ahead = seconds;
                    clock.set_wall((NOW + passed).saturating_add_signed(ahead));
                }
                Event::Send(skew) => {
                    let timestamp = (NOW + passed).saturating_add_signed(ahead + skew);
                                        // Enough requests that the store sweeps all expired nonces.
                    for n in 0..40 {
                        if let Some(timestamp) = send_pooled(&verifier, timestamp.saturating_sub(n * 10)) {
                                                        prop_assert!(accepted.insert(timestamp), "{timestamp} was accepted twice");
                        }
                    }
                }
            }
        }
    }
}
