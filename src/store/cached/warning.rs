//! Tells operators that keys are used which have outlived their time, and not too often.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::error::LookupError;
use crate::event;

/// An outage is told when it begins, and as long as it lasts.
const INTERVAL: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct OutageWarning(Mutex<Option<Duration>>);

impl OutageWarning {
    pub(super) fn warn(&self, now: Duration, error: &LookupError) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| now.saturating_sub(last) >= INTERVAL) {
            *last = Some(now);
            event::catch_panics(|| event::serving_stale_keys(error));
        }
    }
}
