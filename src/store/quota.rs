//! How much of the memory nonce store is held, and by whom: one app's flood does not lock the others out.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::table::APPS;

/// Who holds how much.
pub(super) struct Quota {
    capacity: usize,
    total: AtomicUsize,
    /// Apps share the counters by their hash.
    apps: Box<[AtomicUsize]>,
}

impl Quota {
    pub(super) fn new(capacity: usize) -> Self {
        let apps = (0..APPS).map(|_| AtomicUsize::new(0)).collect();
        Self { capacity, total: AtomicUsize::new(0), apps }
    }

    /// `false` if there is no room left for this app.
    pub(super) fn reserve(&self, app: u16) -> bool {
        let app = &self.apps[usize::from(app)];
        let is_small = app.fetch_add(1, Relaxed) < (self.capacity / 64).max(1);
        let limit = if is_small { self.capacity } else { self.capacity - self.capacity / 8 };
        let reserved = self.total.fetch_update(Relaxed, Relaxed, |total| (total < limit).then_some(total + 1)).is_ok();
        if !reserved {
            app.fetch_sub(1, Relaxed);
        }
        reserved
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn held(&self) -> usize {
        self.total.load(Relaxed)
    }

    pub(super) fn release(&self, app: u16) {
        self.apps[usize::from(app)].fetch_sub(1, Relaxed);
        self.total.fetch_sub(1, Relaxed);
    }
}
