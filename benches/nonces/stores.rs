//! The memory store and moka's two caches in a steady state, in which as many nonces expire as arrive.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use countersign::{
    AppId, Nonce,
    store::{MemoryNonceStore, NonceClaim, NonceStatus, NonceStore, Retention},
};
use futures_util::FutureExt;

pub(crate) const LIVE: u64 = 1_000_000;

/// The retention of a verifier with the default tolerance of 300 seconds.
const SECONDS: u64 = 301;

/// moka's time to live, in real seconds.
const MOKA_SECONDS: u64 = 30;

const APP: &str = "demo";

/// Paces a million nonces over moka's time to live.
pub(crate) struct Pace {
    start: Instant,
    come: u64,
}

impl Pace {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now(), come: 0 }
    }

    /// Waits until this many more nonces are due. It spins, because sleeping would cool the CPU caches.
    pub(crate) fn next(&mut self, count: usize) -> Range<u64> {
        let from = self.come;
        self.come += count as u64;
        let due = Duration::from_secs(MOKA_SECONDS).mul_f64(from as f64 / LIVE as f64);
        while self.start.elapsed() < due {
            std::hint::spin_loop();
        }
        from..self.come
    }
}

pub(crate) trait Store {
    /// The nonce with its app, in the form that the store needs.
    type Key;

    /// The key of the nonce with this number. The highest number so far determines the time.
    fn key(&mut self, number: u64) -> Self::Key;

    /// Whether this is the first claim of the nonce.
    fn claim(&self, key: Self::Key) -> bool;

    /// The number of stored nonces, which can exceed the live ones slightly.
    fn live(&self) -> u64;
}

pub(crate) struct Ours {
    store: MemoryNonceStore,
    app: AppId,
    now: u64,
}

impl Ours {
    pub(crate) fn new() -> Self {
        Self { store: MemoryNonceStore::new(), app: APP.parse().unwrap(), now: 0 }
    }
}

impl Store for Ours {
    type Key = Nonce;

    fn key(&mut self, number: u64) -> Nonce {
        self.now = self.now.max(1_700_000_000 + number * SECONDS / LIVE);
        nonce(number).parse().unwrap()
    }

    fn claim(&self, nonce: Nonce) -> bool {
        let claim = NonceClaim::new(&self.app, &nonce);
        let retention = Retention::new(self.now, self.now + SECONDS);
        self.store.claim(&claim, retention).now_or_never().unwrap().unwrap() == NonceStatus::New
    }

    fn live(&self) -> u64 {
        self.store.len() as u64
    }
}

pub(crate) struct Sync(moka::sync::Cache<Box<str>, ()>);

impl Sync {
    pub(crate) fn new() -> Self {
        Self(moka::sync::Cache::builder().time_to_live(Duration::from_secs(MOKA_SECONDS)).build())
    }
}

impl Store for Sync {
    type Key = Box<str>;

    fn key(&mut self, number: u64) -> Box<str> {
        joined(number)
    }

    fn claim(&self, key: Box<str>) -> bool {
        self.0.entry(key).or_insert_with(|| ()).is_fresh()
    }

    fn live(&self) -> u64 {
        self.0.entry_count()
    }
}

pub(crate) struct Future(moka::future::Cache<Box<str>, ()>);

impl Future {
    pub(crate) fn new() -> Self {
        Self(moka::future::Cache::builder().time_to_live(Duration::from_secs(MOKA_SECONDS)).build())
    }
}

impl Store for Future {
    type Key = Box<str>;

    fn key(&mut self, number: u64) -> Box<str> {
        joined(number)
    }

    /// The future never waits.
    fn claim(&self, key: Box<str>) -> bool {
        self.0.entry(key).or_insert_with(std::future::ready(())).now_or_never().unwrap().is_fresh()
    }

    fn live(&self) -> u64 {
        self.0.entry_count()
    }
}

/// 32 hex digits, the format that signers use.
fn nonce(number: u64) -> String {
    format!("{:032x}", u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
}

/// App ids contain no slash, so the key is unambiguous.
fn joined(number: u64) -> Box<str> {
    format!("{APP}/{}", nonce(number)).into()
}
