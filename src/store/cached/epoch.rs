//! What an invalidation ends: everything that was looked up before it, wherever that is by now.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::protocol::AppId;

/// Apps share the counters by their hash: to invalidate one may cost a few others a look-up.
const COUNTERS: usize = 1024;

/// Counts invalidations.
pub(super) struct Epochs {
    counters: Box<[AtomicU64]>,
    hasher: RandomState,
}

/// Read before a look-up begins. What it finds is void once this is not the current one any more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Epoch {
    counter: usize,
    count: u64,
}

impl Epochs {
    pub(super) fn new() -> Self {
        Self { counters: (0..COUNTERS).map(|_| AtomicU64::new(0)).collect(), hasher: RandomState::new() }
    }

    pub(super) fn of(&self, app: &AppId) -> Epoch {
        let counter = self.counter(app);
        Epoch { counter, count: self.counters[counter].load(Ordering::SeqCst) }
    }

    /// Takes no hash of the app: every request does this.
    pub(super) fn is_current(&self, epoch: Epoch) -> bool {
        self.counters[epoch.counter].load(Ordering::SeqCst) == epoch.count
    }

    pub(super) fn end(&self, app: &AppId) {
        self.counters[self.counter(app)].fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn end_all(&self) {
        for counter in &self.counters {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn counter(&self, app: &AppId) -> usize {
        self.hasher.hash_one(app) as usize % COUNTERS
    }
}
