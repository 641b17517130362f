//! Warns operators that expired keys are in use, at a limited rate.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::error::LookupError;
use crate::event;

/// The interval between warnings. The first warning comes when the outage begins.
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
