//! The window of accepted timestamps, and the time for which nonces are stored.

use std::sync::Arc;

use crate::protocol::{
    claim::fields::{Claim, Fields},
    field::value::{AppId, Timestamp},
    rejection::Rejection,
};

/// The timestamps that a verifier accepts: a span around the clock, and optionally none before a point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    tolerance: u64,
    not_before: u64,
    retention: u64,
    memory: u64,
}

impl Window {
    /// Accepts timestamps that differ from the clock by at most `tolerance` seconds, in either direction. Both bounds
    /// are included.
    #[must_use]
    pub fn new(tolerance: u64) -> Self {
        Self { tolerance, not_before: 0, retention: tolerance.saturating_add(1), memory: u64::MAX }
    }

    /// Rejects timestamps before `second`, in Unix seconds. Use it if the store holds nonces only since then. Default:
    /// 0.
    #[must_use]
    pub fn with_not_before(self, second: u64) -> Self {
        Self { not_before: second, ..self }
    }

    /// Sets how long nonces are stored, in seconds from their timestamp. It is never less than the tolerance plus one
    /// second, which is the default. If several verifiers share a store, use the largest tolerance among them plus the
    /// difference of their clocks.
    #[must_use]
    pub fn with_retention(self, seconds: u64) -> Self {
        Self { retention: seconds.max(self.retention), ..self }
    }

    /// Rejects timestamps that are older than this many seconds, because their nonces may no longer be stored.
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

    /// The first second in which no verifier with a clock in step accepts the timestamp any more.
    pub(super) fn end(&self, timestamp: Timestamp) -> u64 {
        timestamp.unix_seconds().saturating_add(self.retention)
    }
}

/// A claim whose timestamp is in the window.
#[derive(Clone, Debug)]
pub struct Timely(Claim);

impl Claim {
    /// Checks the timestamp against the clock. `now` is in Unix seconds.
    ///
    /// # Errors
    ///
    /// Fails if the timestamp is outside the window.
    pub fn timely(self, now: u64, window: &Window) -> Result<Timely, Rejection> {
        window.check(self.fields().timestamp, now)?;
        Ok(Timely(self))
    }
}

impl Timely {
    /// Returns the app whose keys must be looked up.
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
