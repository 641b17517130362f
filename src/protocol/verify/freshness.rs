//! Freshness: the window around the clock, and how long a nonce must be remembered.

use std::sync::Arc;

use crate::protocol::{
    claim::fields::{Claim, Fields},
    field::value::{AppId, Timestamp},
    rejection::Rejection,
};

/// The timestamps that are accepted at a moment: a stretch around the clock, and none before a point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    tolerance: u64,
    not_before: u64,
    retention: u64,
    memory: u64,
}

impl Window {
    /// Accepts what lies at most `tolerance` seconds from the clock, either way, both bounds included.
    #[must_use]
    pub fn new(tolerance: u64) -> Self {
        Self { tolerance, not_before: 0, retention: tolerance.saturating_add(1), memory: u64::MAX }
    }

    /// Refuses what was signed before `second`, since when alone nonces are remembered.
    #[must_use]
    pub fn with_not_before(self, second: u64) -> Self {
        Self { not_before: second, ..self }
    }

    /// Has nonces remembered for this many seconds from their timestamp on, and never for less than the tolerance and a
    /// second. Where several verifiers share a store, that of the most tolerant one, and the difference of their
    /// clocks.
    #[must_use]
    pub fn with_retention(self, seconds: u64) -> Self {
        Self { retention: seconds.max(self.retention), ..self }
    }

    /// Refuses what was signed more than so many seconds ago, since its nonce may be forgotten.
    #[cfg(feature = "server")]
    pub(crate) fn with_memory(self, seconds: u64) -> Self {
        Self { memory: seconds, ..self }
    }

    pub(super) fn check(&self, timestamp: Timestamp, now: u64) -> Result<(), Rejection> {
        let timestamp = timestamp.unix_seconds();
        let skew = timestamp.abs_diff(now);
        let detail = if skew > self.tolerance {
            let side = if timestamp < now { "behind" } else { "ahead of" };
            let tolerance = self.tolerance;
            format!("the timestamp is {skew} s {side} the server's clock, {tolerance} s are allowed: sign again")
        } else if timestamp < self.not_before || now.saturating_sub(timestamp) > self.memory {
            let detail = "the timestamp is older than this server's memory of nonces: sign again";
            detail.to_owned()
        } else {
            return Ok(());
        };
        Err(Rejection::stale(detail, now))
    }

    /// The second from which on no clock in step with ours accepts the timestamp any more.
    pub(super) fn end(&self, timestamp: Timestamp) -> u64 {
        timestamp.unix_seconds().saturating_add(self.retention)
    }
}

/// A claim whose timestamp lies in the window.
#[derive(Clone, Debug)]
pub struct Timely(Claim);

impl Claim {
    /// Checks the timestamp against the clock; `now` is in Unix seconds.
    ///
    /// # Errors
    ///
    /// The timestamp lies outside the window.
    pub fn timely(self, now: u64, window: &Window) -> Result<Timely, Rejection> {
        window.check(self.fields().timestamp, now)?;
        Ok(Timely(self))
    }
}

impl Timely {
    /// Whose keys are to be looked up.
    #[must_use]
    pub fn app_id(&self) -> &AppId {
        &self.0.fields().app_id
    }

    pub(crate) fn claim(&self) -> &Claim {
        &self.0
    }

    pub(crate) fn into_fields(self) -> Arc<Fields> {
        self.0.into_fields()
    }
}
