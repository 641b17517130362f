//! The bytes of the stored answers, which apps share.

use std::collections::HashMap;

use crate::store::holders::HolderKey;

/// An app may take more bytes while it holds less than this multiple of the free bytes, as with places in a store.
const GROWTH: usize = 3;

/// The bytes that the answers of each app hold.
pub(super) struct AnswerBytes {
    max: usize,
    total: usize,
    by_app: HashMap<HolderKey, usize>,
}

impl AnswerBytes {
    pub(super) fn new(max: usize) -> Self {
        Self { max, total: 0, by_app: HashMap::new() }
    }

    pub(super) fn total(&self) -> usize {
        self.total
    }

    pub(super) fn has_room(&self, app: HolderKey, bytes: usize) -> bool {
        let free = self.max.saturating_sub(self.total);
        let held = self.by_app.get(&app).copied().unwrap_or(0);
        bytes <= free && held < free.saturating_mul(GROWTH)
    }

    pub(super) fn take(&mut self, app: HolderKey, bytes: usize) {
        if bytes > 0 {
            self.total += bytes;
            *self.by_app.entry(app).or_default() += bytes;
        }
    }

    pub(super) fn give_back(&mut self, app: HolderKey, bytes: usize) {
        self.total -= bytes;
        if let Some(held) = self.by_app.get_mut(&app) {
            *held -= bytes;
            if *held == 0 {
                self.by_app.remove(&app);
            }
        }
    }
}
