//! What remembering costs at a million live nonces: the time of a claim on a fresh nonce, beside that of a claim on a
//! live one (a replay, which changes nothing); and the bytes that the store takes for a live nonce.
//!
//! Criterion's time is that of fresh nonces, with its share of the sweeping that gives expired ones back; the line
//! below it has medians, for which one claim in thousands that sweeps makes no difference.
//!
//! ```sh
//! cargo bench --bench nonces
//! ```
//!
//! Time moves along with the claims, so that as many nonces expire as are claimed: about 3300 a second, each remembered
//! for 301 seconds.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench that fails is no bench")]

mod rig;

use std::time::Duration;

use countersign::{
    AppId, Nonce,
    store::{Lifetime, MemoryNonceStore, NonceStore, Occurrence},
};
use criterion::Criterion;
use futures_util::FutureExt;

use self::rig::time;

const LIVE: u64 = 1_000_000;

/// What a verifier with the default tolerance of 300 seconds asks for.
const SECONDS: u64 = 301;

/// A store in the middle of its life.
struct Service {
    store: MemoryNonceStore,
    app: AppId,
    claimed: u64,
    replayed: u64,
}

impl Service {
    fn new() -> Self {
        Self { store: MemoryNonceStore::new(), app: "demo".parse().unwrap(), claimed: 0, replayed: 0 }
    }

    /// The nonce of the next claim, for which time moves along.
    fn fresh(&mut self) -> Nonce {
        self.claimed += 1;
        nonce(self.claimed)
    }

    /// The nonce of an earlier claim that is live still, in no order.
    fn live(&mut self) -> Nonce {
        self.replayed += 1;
        nonce(self.claimed - self.replayed.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (LIVE * 9 / 10))
    }

    fn claim(&self, nonce: &Nonce) -> Occurrence {
        let now = 1_700_000_000 + self.claimed * SECONDS / LIVE;
        let claim = self.store.claim(&self.app, nonce, Lifetime::new(now, now + SECONDS));
        claim.now_or_never().unwrap().unwrap()
    }

    /// Lets this many seconds pass, and tells the fewest and the most bytes that the store took meanwhile.
    fn pass(&mut self, seconds: u64) -> (usize, usize) {
        let mut bytes = (usize::MAX, 0);
        for _ in 0..seconds {
            for _ in 0..LIVE / SECONDS {
                let nonce = self.fresh();
                assert_eq!(self.claim(&nonce), Occurrence::First);
            }
            let now = self.store.memory();
            bytes = (bytes.0.min(now), bytes.1.max(now));
        }
        bytes
    }
}

/// 32 hex digits, as signers make them.
fn nonce(number: u64) -> Nonce {
    format!("{:032x}", u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)).parse().unwrap()
}

fn main() {
    let (warm_up, measurement) = (Duration::from_millis(500), Duration::from_secs(3));
    let criterion = Criterion::default().warm_up_time(warm_up).measurement_time(measurement);
    let mut criterion = criterion.configure_from_args();
    let mut service = Service::new();
    service.pass(2 * SECONDS);

    let works = ["a fresh nonce", "a replay"];
    rig::in_turns(&mut criterion, "nonces/a million live", works, |count| {
        let fresh: Vec<Nonce> = (0..count).map(|_| service.fresh()).collect();
        let (first, outcomes) = time(&fresh, |nonce| service.claim(nonce));
        assert!(outcomes.iter().all(|outcome| *outcome == Occurrence::First));
        let live: Vec<Nonce> = (0..count).map(|_| service.live()).collect();
        let (again, outcomes) = time(&live, |nonce| service.claim(nonce));
        assert!(outcomes.iter().all(|outcome| *outcome == Occurrence::Repeated));
        [first, again]
    });

    let (fewest, most) = service.pass(2 * SECONDS);
    let each = |bytes: usize| bytes as f64 / LIVE as f64;
    println!("nonces/a million live: {:.1} to {:.1} bytes for each live nonce", each(fewest), each(most));
    criterion.final_summary();
}
