//! The wall clock steps, and no request is let in twice.

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
async fn a_wrong_hour_for_one_request_is_forgotten() {
    let (verifier, clock) = verifier();
    assert_eq!(code(&verifier, fresh(NOW)).await, "accepted");
    clock.set_wall(NOW + 3600);
    assert_eq!(code(&verifier, fresh(NOW)).await, "stale_timestamp", "steps ahead are followed");
    assert_eq!(code(&verifier, fresh(NOW + 3600)).await, "accepted");
    clock.set_wall(NOW);
    assert_eq!(code(&verifier, fresh(NOW)).await, "accepted");
    assert_eq!(code(&verifier, fresh(NOW + 3600)).await, "stale_timestamp");
}

#[tokio::test]
async fn four_wrong_minutes_are_forgotten() {
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

/// What was let in during the step is remembered until its own time has passed.
#[tokio::test]
async fn a_request_of_the_wrong_hour_is_let_in_once() {
    let (verifier, clock) = verifier();
    clock.set_wall(NOW + 3600);
    let of_the_step = fresh(NOW + 3600);
    assert_eq!(code(&verifier, of_the_step.clone()).await, "accepted");
    clock.set_wall(NOW);
    for second in (0..4000).step_by(10) {
        // Enough claims for every part of the store to be swept.
        for _ in 0..40 {
            code(&verifier, fresh(NOW + second)).await;
        }
        let expected = match second {
            3300..=3900 => "replayed_nonce",
            _ => "stale_timestamp",
        };
        assert_eq!(code(&verifier, of_the_step.clone()).await, expected, "after {second} s");
        clock.advance(Duration::from_secs(10));
    }
}

/// The store is sized for 601 seconds of requests, as its documentation says.
#[tokio::test]
async fn a_step_that_stays_needs_no_larger_store() {
    const A_SECOND: u64 = 10;
    let clock = ManualClock::at(NOW - 3600);
    let store = MemoryNonceStore::with_capacity((A_SECOND * 601 * 4 / 3) as usize);
    let verifier = Verifier::new(rig::keys()).with_nonces(store).with_clock(clock.clone());
    clock.advance(Duration::from_secs(3600));
    let mut ahead = 0;
    for second in 0..2000 {
        if second == 700 {
            ahead = 86_400;
            clock.set_wall(NOW + second + ahead);
        }
        for _ in 0..A_SECOND {
            assert_eq!(code(&verifier, fresh(NOW + second + ahead)).await, "accepted", "after {second} s");
        }
        clock.advance(Duration::from_secs(1));
    }
}

/// Its time to live reaches to the end of its window by the time that was right all along.
#[tokio::test]
async fn redis_keeps_a_claim_of_the_wrong_hour_for_an_hour() {
    let server = RedisServer::start();
    let clock = ManualClock::at(NOW);
    let store = RedisNonceStore::new(redis::Client::open(server.url()).unwrap());
    let verifier = Verifier::new(rig::keys()).with_nonces(store).with_clock(clock.clone());
    clock.set_wall(NOW + 3600);
    let (mut parts, ()) = Request::get("/").body(()).unwrap().into_parts();
    let (timestamp, nonce) = ((NOW + 3600).try_into().unwrap(), "of-the-step".parse().unwrap());
    signer().sign_at(&mut parts, Payload::Bytes(b""), timestamp, nonce).unwrap();
    assert_eq!(code(&verifier, Request::from_parts(parts, "")).await, "accepted");
    let left: i64 = server.tell(&["TTL", "cs1:demo/of-the-step"]);
    assert!((3600 + 361 - 5..=3600 + 361).contains(&left), "{left} s");
}

/// Forgets by a time of its own, which goes on while this machine is suspended.
#[derive(Clone, Default)]
struct Elsewhere(Arc<Mutex<HashSet<String>>>);

impl NonceStore for Elsewhere {
    async fn claim(&self, claim: &NonceClaim<'_>, _: Retention) -> Result<NonceStatus, StoreError> {
        let is_first = self.0.lock().unwrap().insert(claim.nonce().to_string());
        Ok(if is_first { NonceStatus::New } else { NonceStatus::Replayed })
    }

    fn is_persistent(&self) -> bool {
        true
    }
}

/// After it was suspended for an hour, the wall clock is set back by that hour.
#[tokio::test]
async fn a_suspended_machine_lets_no_request_in_twice() {
    let store = Elsewhere::default();
    let (verifier, clock) = verifier_on(store.clone());
    let request = fresh(NOW);
    assert_eq!(code(&verifier, request.clone()).await, "accepted");
    clock.set_wall(NOW + 3600);
    store.0.lock().unwrap().clear();
    assert_eq!(code(&verifier, fresh(NOW + 3600)).await, "accepted", "it woke up");
    clock.set_wall(NOW);
    for second in 0..=661 {
        assert_eq!(code(&verifier, request.clone()).await, "stale_timestamp", "after {second} s");
        clock.advance(Duration::from_secs(1));
    }
    assert_eq!(code(&verifier, request).await, "stale_timestamp");
    assert_eq!(code(&verifier, fresh(NOW + 662)).await, "accepted", "the wall is followed again");
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Passes(u64),
    /// The wall is so many seconds from the right time.
    Steps(i64),
    /// A request is sent whose timestamp is so far from the wall.
    Sends(i64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let step = prop_oneof![Just(0), Just(3600), Just(-3600), Just(400), -2000_i64..4000];
    let skew = prop_oneof![Just(0), Just(-300), Just(300), -330_i64..330];
    let passes = prop_oneof![0_u64..20, 0_u64..700];
    let event = prop_oneof![
        2 => passes.prop_map(Event::Passes),
        2 => step.prop_map(Event::Steps),
        6 => skew.prop_map(Event::Sends),
    ];
    proptest::collection::vec(event, 1..120)
}

/// One request for each ten seconds, with a nonce of its own.
fn of_the_pool(verifier: &Verifier<StaticKeys>, timestamp: u64) -> Option<u64> {
    let timestamp = timestamp / 10 * 10;
    let (mut parts, ()) = Request::get("/").body(()).unwrap().into_parts();
    let nonce = format!("nonce-{timestamp}").parse().unwrap();
    signer().sign_at(&mut parts, Payload::Bytes(b""), timestamp.try_into().unwrap(), nonce).unwrap();
    let request = Request::from_parts(parts, "");
    (code(verifier, request).now_or_never().unwrap() == "accepted").then_some(timestamp)
}

proptest! {
    #[test]
    fn no_step_of_the_wall_lets_a_request_in_twice(events in events()) {
        let clock = ManualClock::at(NOW);
        let verifier = Verifier::new(rig::keys()).with_clock(clock.clone());
        let mut accepted = HashSet::new();
        let mut ahead = 0;
        for event in events {
            let passed = clock.monotonic().as_secs();
            match event {
                Event::Passes(seconds) => clock.advance(Duration::from_secs(seconds)),
                Event::Steps(seconds) => {
                    ahead = seconds;
                    clock.set_wall((NOW + passed).saturating_add_signed(ahead));
                }
                Event::Sends(skew) => {
                    let timestamp = (NOW + passed).saturating_add_signed(ahead + skew);
                    // Many, so that the store forgets all that it may.
                    for n in 0..40 {
                        if let Some(timestamp) = of_the_pool(&verifier, timestamp.saturating_sub(n * 10)) {
                            prop_assert!(accepted.insert(timestamp), "{timestamp} was let in twice");
                        }
                    }
                }
            }
        }
    }
}
