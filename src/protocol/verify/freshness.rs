//! The window of accepted timestamps, and the time for which nonces are stored.

use std::sync::Arc;

use crate::protocol::{
    claim::fields::{Claim, Fields},
    field::value::{AppId, Timestamp},
    rejection::Rejection,
};
#[cfg(feature = "server")]
use crate::protocol::{claim::link::LinkClaim, rejection::RejectionKind, token::GrantToken};

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

    pub(crate) fn check(&self, timestamp: Timestamp, now: u64) -> Result<(), Rejection> {
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

/// The time in which a share link is accepted: from its timestamp, with the tolerance, until the second before its end.
#[cfg(feature = "server")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkWindow {
    timestamp: u64,
    tolerance: u64,
    end: u64,
}

/// How much longer than a link its nonce is stored, in seconds, because the clocks of machines differ.
#[cfg(feature = "server")]
const LINK_RETENTION: u64 = 60;

#[cfg(feature = "server")]
impl LinkWindow {
    pub(crate) fn check(&self, now: u64) -> Result<(), Rejection> {
        let Self { timestamp, tolerance, end } = *self;
        if timestamp > now.saturating_add(tolerance) {
            let skew = timestamp.saturating_sub(now);
            let detail = format!(
                "the link's timestamp is {skew} s ahead of the server's clock, {tolerance} s are allowed: set the clock of the \
                 signer"
            );
            return Err(Rejection::stale(detail, now));
        }
        match now < end {
            true => Ok(()),
            false => Err(Rejection::new(RejectionKind::ExpiredLink, "the link has expired: ask for a new one")),
        }
    }

    /// The first second in which the link is expired, in Unix seconds.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    pub(super) fn forget_nonce_at(&self) -> u64 {
        self.end.saturating_add(LINK_RETENTION)
    }
}

/// A claim whose timestamp is in the window.
#[derive(Clone, Debug)]
pub struct Timely(Claim);

#[cfg(feature = "server")]
impl LinkClaim {
    /// Checks the timestamp and the end of the link. `now` is in Unix seconds. A link has a tolerance only before its
    /// timestamp.
    pub(crate) fn timely(
        self,
        now: u64,
        tolerance: u64,
    ) -> Result<(Timely, LinkWindow, Option<GrantToken>), Rejection> {
        let timestamp = self.claim.timestamp().unix_seconds();
        let end = timestamp.saturating_add(self.lifetime.seconds());
        let window = LinkWindow { timestamp, tolerance, end };
        window.check(now)?;
        Ok((Timely(self.claim), window, self.grant))
    }
}

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
