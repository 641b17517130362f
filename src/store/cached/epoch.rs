//! Epochs. An invalidation ends an epoch and voids every lookup that began in it.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::protocol::AppId;

/// The number of counters. Apps share counters by hash, so an invalidation may cause a lookup of a few other apps.
const COUNTERS: usize = 1024;

/// Counts invalidations.
pub(super) struct Epochs {
    counters: Box<[AtomicU64]>,
    hasher: RandomState,
}

/// The epoch at the start of a lookup. The result is void if the epoch is no longer current.
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

    /// Returns whether the epoch is current. Every request calls this, so it does not hash the app.
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
