//! Freshness: the window around the clock, and how long a nonce must be remembered.

use super::{
    claim::Claim,
    field::{AppId, Timestamp},
    mac::Authentic,
    rejection::Rejection,
};

/// The timestamps that are accepted at a moment: a stretch around the clock, and none before a point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    tolerance: u64,
    not_before: u64,
    retention: u64,
}

impl Window {
    /// Accepts what lies at most `tolerance` seconds from the clock, either way, both bounds included.
    #[must_use]
    pub fn new(tolerance: u64) -> Self {
        Self { tolerance, not_before: 0, retention: tolerance.saturating_add(1) }
    }

    /// Refuses what was signed before `second`, since when alone nonces are remembered.
    #[must_use]
    pub fn not_before(self, second: u64) -> Self {
        Self { not_before: second, ..self }
    }

    /// Has nonces remembered for this many seconds from their timestamp on, and never for less than the tolerance and a
    /// second. Where several verifiers share a store, that of the most tolerant one, and the difference of their clocks.
    #[must_use]
    pub fn retention(self, seconds: u64) -> Self {
        Self { retention: seconds.max(self.retention), ..self }
    }

    fn check(&self, timestamp: Timestamp, now: u64) -> Result<(), Rejection> {
        let timestamp = timestamp.unix_seconds();
        let skew = timestamp.abs_diff(now);
        let detail = if skew > self.tolerance {
            let side = if timestamp < now { "behind" } else { "ahead of" };
            let tolerance = self.tolerance;
            format!("the timestamp is {skew} s {side} the server's clock, {tolerance} s are allowed: sign again")
        } else if timestamp < self.not_before {
            let detail = "the timestamp is older than this server's memory of nonces: sign again";
            detail.to_owned()
        } else {
            return Ok(());
        };
        Err(Rejection::stale(detail, now))
    }

    /// The second from which on no clock in step with ours accepts the timestamp any more.
    fn end(&self, timestamp: Timestamp) -> u64 {
        timestamp.unix_seconds().saturating_add(self.retention)
    }
}

/// A claim whose timestamp lies in the window.
#[derive(Clone, Debug)]
pub struct Timely(pub(crate) Claim);

impl Claim {
    /// Checks the timestamp against the clock; `now` is in Unix seconds.
    ///
    /// # Errors
    ///
    /// The timestamp lies outside the window.
    pub fn timely(self, now: u64, window: &Window) -> Result<Timely, Rejection> {
        window.check(self.timestamp, now)?;
        Ok(Timely(self))
    }
}

impl Timely {
    /// Whose keys are to be looked up.
    #[must_use]
    pub fn app_id(&self) -> &AppId {
        &self.0.app_id
    }
}

/// How long a nonce is to be remembered, computed from the clock reading that found its request still timely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetime {
    pub(crate) now: u64,
    pub(crate) until: u64,
}

impl Authentic {
    /// Checks the window again, by the very reading of the clock from which the nonce's lifetime is computed.
    pub(crate) fn lifetime(&self, now: u64, window: &Window) -> Result<Lifetime, Rejection> {
        window.check(self.claim.timestamp, now)?;
        let until = window.end(self.claim.timestamp);
        Ok(Lifetime { now, until })
    }
}

/// An authentic claim whose nonce was used for the first time, by the word of a
/// [`NonceStore`](crate::store::NonceStore).
///
/// Only the store makes one, and only of an [`Authentic`] claim:
///
/// ```compile_fail,E0599
/// # use countersign::{protocol::{Timely, Window}, store::MemoryNonceStore};
/// # async fn skip(store: MemoryNonceStore, window: Window, timely: Timely) {
/// timely.claim_nonce(&store, 1_700_000_000, &window).await;
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Unrepeated {
    pub(crate) authentic: Authentic,
}
