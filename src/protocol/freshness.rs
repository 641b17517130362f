//! Freshness: the window around the clock, and how long a nonce must be remembered.

use std::{sync::Arc, time::Duration};

use super::{
    claim::{Claim, Fields},
    field::{AppId, Nonce, Timestamp},
    key::KeyLabel,
    mac::Authentic,
    rejection::{Rejection, RejectionKind},
};
#[cfg(feature = "test-util")]
use super::{field::Token, key::KeyName, scheme::Scheme, token::TokenClaim};

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

    fn check(&self, timestamp: Timestamp, now: u64) -> Result<(), Rejection> {
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
    fn end(&self, timestamp: Timestamp) -> u64 {
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

/// How long a nonce is to be remembered, in Unix seconds: from `now` to `until`, computed from the one reading of the
/// clock that found its request still timely.
///
/// Where the verifier's clock has just stepped ahead, `now` is behind it for up to five minutes, in case it steps back: the time
/// as of which a store may forget never decreases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    now: u64,
    until: u64,
}

impl Retention {
    /// For tests of stores; verifiers make their own.
    #[must_use]
    pub fn new(now: u64, until: u64) -> Self {
        Self { now, until }
    }

    /// The time as of which the store may forget, in Unix seconds: it never decreases.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// The first second at which the nonce may be forgotten.
    #[must_use]
    pub fn until(&self) -> u64 {
        self.until
    }

    /// How long that is from now.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        Duration::from_secs(self.until.saturating_sub(self.now))
    }
}

/// Whether a nonce was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NonceStatus {
    /// It was not: it is now.
    New,
    /// It was, and the claim is live still.
    Replayed,
    /// The claim came after its end, when nobody can tell any more.
    Expired,
}

/// An authentic claim whose nonce is to be claimed.
pub(crate) struct PendingNonce {
    fields: Arc<Fields>,
    key: KeyLabel,
    now: u64,
    lifetime: Retention,
}

impl Authentic<'_> {
    /// Checks the window again, by the very reading of the clock from which the nonce's lifetime is computed.
    pub(crate) fn pending(self, now: u64, forget: u64, window: &Window) -> Result<PendingNonce, Rejection> {
        let (fields, key) = self.into_fields();
        window.check(fields.timestamp, now)?;
        let lifetime = Retention { now: forget, until: window.end(fields.timestamp) };
        Ok(PendingNonce { fields, key, now, lifetime })
    }
}

impl PendingNonce {
    pub(crate) fn app_id(&self) -> &AppId {
        &self.fields.app_id
    }

    pub(crate) fn nonce(&self) -> &Nonce {
        &self.fields.nonce
    }

    pub(crate) fn lifetime(&self) -> Retention {
        self.lifetime
    }

    pub(crate) fn check_again(&self, window: &Window, now: u64) -> Result<(), Rejection> {
        window.check(self.fields.timestamp, now)
    }

    /// Takes the store's word.
    pub(crate) fn resolve(self, occurrence: NonceStatus) -> Result<Unrepeated, Rejection> {
        match occurrence {
            NonceStatus::New => Ok(Unrepeated { fields: self.fields, key: self.key }),
            NonceStatus::Replayed => Err(Rejection::new(
                RejectionKind::ReplayedNonce,
                "the nonce was used before: sign each request, and each retry, with a fresh one",
            )),
            NonceStatus::Expired => {
                Err(Rejection::stale("the request took too long on its way in: sign again", self.now))
            }
        }
    }
}

/// An authentic claim whose nonce was used for the first time, by the word of a `NonceStore`.
///
/// Only the store makes one, and only of an [`Authentic`] claim:
///
/// ```compile_fail,E0451
/// # use countersign::protocol::Unrepeated;
/// fn forge(unrepeated: Unrepeated) -> Unrepeated {
///     Unrepeated { ..unrepeated }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Unrepeated {
    fields: Arc<Fields>,
    key: KeyLabel,
}

impl Unrepeated {
    #[cfg(feature = "test-util")]
    pub(crate) fn for_test(app_id: AppId, token: Option<Token>, name: Option<KeyName>) -> Self {
        let (timestamp, nonce) = (Timestamp::for_test(), Nonce::for_test());
        let token = TokenClaim::new(&Scheme::new(), token);
        Self { fields: Arc::new(Fields { app_id, timestamp, nonce, token }), key: KeyLabel { index: 0, name } }
    }

    pub(crate) fn fields(&self) -> &Fields {
        &self.fields
    }

    pub(crate) fn key(&self) -> &KeyLabel {
        &self.key
    }

    /// The same, where the key that signed has another place or name by now.
    #[cfg(feature = "server")]
    pub(crate) fn with_key(self, key: KeyLabel) -> Self {
        Self { key, ..self }
    }
}
