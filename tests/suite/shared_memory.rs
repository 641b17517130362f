//! Verifiers of one process that share a nonce store: the retention of nonces, and the age of the store.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use countersign::{
    StaticKeys, Verifier,
    clock::ManualClock,
    store::{MemoryNonceStore, NonceClaim, NonceStatus, NonceStore, Retention, StoreError, VerifierRegistry},
};
use http::Request;
use proptest::prelude::*;

use crate::rig::{self, NOW, code, get, keys, signed_by, signer};

type Store = Arc<MemoryNonceStore>;

fn store() -> Store {
    Arc::new(MemoryNonceStore::with_capacity(1000))
}

fn on<N: NonceStore>(store: N, clock: &ManualClock, tolerance: u64) -> Verifier<StaticKeys, N> {
    Verifier::new(keys()).with_nonces(store).with_clock(clock.clone()).with_tolerance(Duration::from_secs(tolerance))
}

fn signed_at(timestamp: u64) -> Request<&'static str> {
    signed_by(&signer(), timestamp, get("/"))
}

fn wait(clock: &ManualClock, seconds: u64) {
    clock.advance(Duration::from_secs(seconds));
}

#[tokio::test]
async fn largest_tolerance_determines_nonce_retention() {
    for tolerances in [(60, 300), (0, 1), (60, 86_400)] {
        let clock = ManualClock::at(NOW);
        let store = store();
        let strict = on(store.clone(), &clock, tolerances.0);
        let clone = strict.clone().with_tolerance(Duration::from_secs(tolerances.1));
        let apart = on(store, &clock, tolerances.1);
        let requests = [signed_at(NOW), signed_at(NOW)];
        for request in &requests {
            assert_eq!(code(&strict, request.clone()).await, "accepted");
        }
        wait(&clock, tolerances.0 + 1);
        for (tolerant, request) in [clone, apart].iter().zip(requests) {
            assert_eq!(code(tolerant, request).await, "replayed_nonce", "{tolerances:?}");
        }
    }
}

#[tokio::test]
async fn more_tolerant_verifier_added_later_accepts_no_replay() {
    let clock = ManualClock::at(NOW);
    let store = store();
    let strict = on(store.clone(), &clock, 60);
    let (now, ahead, unused) = (signed_at(NOW), signed_at(NOW + 60), signed_at(NOW + 60));
    assert_eq!(code(&strict, now.clone()).await, "accepted");
    assert_eq!(code(&strict, ahead.clone()).await, "accepted");
    wait(&clock, 10);
    let tolerant = on(store, &clock, 300);
    let clone = strict.clone().with_tolerance(Duration::from_secs(300));
    wait(&clock, 51);
    for verifier in [&tolerant, &clone] {
        let rejection = rig::verify(verifier, now.clone()).await.unwrap_err();
        assert!(rejection.detail().contains("older than this server's memory of nonces"), "{rejection}");
        assert_eq!(code(verifier, ahead.clone()).await, "replayed_nonce");
        assert_eq!(code(verifier, signed_at(NOW + 61)).await, "accepted");
    }
    assert_eq!(code(&tolerant, unused.clone()).await, "accepted", "the strict verifier would accept it as well");
    let later = signed_at(NOW + 61);
    wait(&clock, 60);
    for verifier in [&tolerant, &clone] {
        assert_eq!(code(verifier, ahead.clone()).await, "stale_timestamp");
    }
    wait(&clock, 200);
    assert_eq!(code(&tolerant, later.clone()).await, "accepted", "it is newer than every earlier claim");
    assert_eq!(code(&clone, later).await, "replayed_nonce");
}

/// Records the expiry of each claim.
#[derive(Default)]
struct Recorder(Mutex<Vec<u64>>, VerifierRegistry);

impl NonceStore for Recorder {
    async fn claim(&self, _: &NonceClaim<'_>, retention: Retention) -> Result<NonceStatus, StoreError> {
        self.0.lock().unwrap().push(retention.until());
        Ok(NonceStatus::New)
    }

    fn registry(&self) -> Option<&VerifierRegistry> {
        Some(&self.1)
    }
}

#[tokio::test]
async fn dropped_verifier_no_longer_extends_retention() {
    let clock = ManualClock::at(NOW);
    let store = Arc::new(Recorder::default());
    let strict = on(store.clone(), &clock, 60);
    let tolerant = on(store.clone(), &clock, 300);
    let copy = tolerant.clone();
    for _ in 0..2 {
        assert_eq!(code(&strict, signed_at(NOW)).await, "accepted");
    }
    drop(tolerant);
    assert_eq!(code(&strict, signed_at(NOW)).await, "accepted");
    drop(copy);
    assert_eq!(code(&strict, signed_at(NOW)).await, "accepted");
    assert_eq!(*store.0.lock().unwrap(), [NOW + 301, NOW + 301, NOW + 301, NOW + 61]);
}

#[tokio::test]
async fn new_verifier_uses_the_age_of_the_store() {
    let clock = ManualClock::at(NOW);
    let store = store();
    let older = on(store.clone(), &clock, 300);
    wait(&clock, 100);
    let by_clock_last = on(store.clone(), &clock, 300);
    let by_store_last = Verifier::new(keys()).with_clock(clock.clone()).with_nonces(store.clone());
    let clone = older.clone().with_clock(clock.clone());
    let moved = older.clone().with_nonces(store.clone());
    let strict = on(store, &clock, 300).with_strict_restart();
    for younger in [&older, &by_clock_last, &by_store_last, &clone, &moved] {
        assert_eq!(code(younger, signed_at(NOW + 50)).await, "accepted");
        assert_eq!(code(younger, signed_at(NOW)).await, "accepted");
        assert_eq!(code(younger, signed_at(NOW - 1)).await, "stale_timestamp", "signed before the store's first use");
    }
    assert_eq!(code(&strict, signed_at(NOW + 300)).await, "stale_timestamp");
    assert_eq!(code(&strict, signed_at(NOW + 301)).await, "accepted");
    wait(&clock, 202);
    let stricter = strict.clone().with_clock(clock.clone());
    assert_eq!(code(&stricter, signed_at(NOW + 301)).await, "accepted", "the store is old enough");
}

#[tokio::test]
async fn replaced_store_counts_from_its_replacement() {
    let clock = ManualClock::at(NOW);
    let older = on(store(), &clock, 300);
    wait(&clock, 100);
    let newer = older.clone().with_nonces(store());
    assert_eq!(code(&newer, signed_at(NOW + 99)).await, "stale_timestamp");
    assert_eq!(code(&newer, signed_at(NOW + 100)).await, "accepted");
}

#[derive(Clone, Debug)]
enum Step {
    /// Adds a new verifier, or a clone of an existing one.
    Join {
        tolerance: u64,
        of: Option<usize>,
    },
    Leave(usize),
    Wait(u64),
    /// Sends a new request whose timestamp differs from now by `skew` seconds.
    Sign {
        by: usize,
        skew: i64,
    },
    /// Sends an earlier request again.
    Repeat {
        at: usize,
        which: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let tolerance = prop_oneof![Just(0_u64), Just(1), Just(5), Just(20), 0..40_u64];
    prop_oneof![
        (tolerance, proptest::option::of(0..8_usize)).prop_map(|(tolerance, of)| Step::Join { tolerance, of }),
        (0..8_usize).prop_map(Step::Leave),
        (1..30_u64).prop_map(Step::Wait),
        (0..8_usize, -40..40_i64).prop_map(|(by, skew)| Step::Sign { by, skew }),
        (0..8_usize, 0..64_usize).prop_map(|(at, which)| Step::Repeat { at, which }),
        (0..8_usize, 0..64_usize).prop_map(|(at, which)| Step::Repeat { at, which }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_request_is_accepted_twice(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (clock, store) = (ManualClock::at(NOW), store());
            let mut verifiers: Vec<Verifier<StaticKeys, Store>> = vec![on(store.clone(), &clock, 5)];
            let (mut sent, mut accepted, mut now) = (Vec::new(), Vec::new(), NOW);
            for step in steps {
                let (which, at) = match step {
                    Step::Join { tolerance, of } => {
                        let of = of.and_then(|of| verifiers.get(of)).cloned();
                        verifiers.push(match of {
                            Some(other) => other.with_tolerance(Duration::from_secs(tolerance)),
                            None => on(store.clone(), &clock, tolerance),
                        });
                        continue;
                    }
                    Step::Leave(which) => {
                        if verifiers.len() > 1 {
                            drop(verifiers.remove(which % verifiers.len()));
                        }
                        continue;
                    }
                    Step::Wait(seconds) => {
                        wait(&clock, seconds);
                        now += seconds;
                        continue;
                    }
                    Step::Sign { by, skew } => {
                        sent.push(signed_at(now.saturating_add_signed(skew)));
                        accepted.push(0);
                        (sent.len() - 1, by)
                    }
                    Step::Repeat { .. } if sent.is_empty() => continue,
                    Step::Repeat { at, which } => (which % sent.len(), at),
                };
                let verifier = &verifiers[at % verifiers.len()];
                if code(verifier, sent[which].clone()).await == "accepted" {
                    accepted[which] += 1;
                    prop_assert_eq!(accepted[which], 1, "request {}", which);
                }
            }
            Ok(())
        })?;
    }
}
