//! Step 8: a store decides whether the nonce of an authentic claim is new.

use std::{sync::Arc, time::Duration};

#[cfg(any(feature = "server", feature = "test-util"))]
use crate::protocol::field::value::Token;
#[cfg(any(feature = "tokens", feature = "test-util"))]
use crate::protocol::key::app_key::SignedBy;
#[cfg(feature = "server")]
use crate::protocol::verify::freshness::LinkWindow;
use crate::protocol::{
    claim::fields::Fields,
    field::value::{AppId, Nonce, Timestamp},
    key::app_key::KeyLabel,
    rejection::{Rejection, RejectionKind},
    verify::{freshness::Window, mac::Authentic},
};
#[cfg(feature = "test-util")]
use crate::protocol::{claim::token::TokenClaim, key::app_key::KeyName, scheme::contract::Scheme};

/// The time span for which a store must keep a nonce: from `now` to `until`, in Unix seconds.
///
/// Both are computed from the clock reading with which the verifier last checked the timestamp. After the verifier's
/// clock jumps ahead, `now` lags behind it for up to five minutes, in case the clock jumps back. `now` never decreases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    now: u64,
    until: u64,
}

impl Retention {
    /// Makes a retention, for tests of stores. Verifiers make their own.
    #[must_use]
    pub fn new(now: u64, until: u64) -> Self {
        Self { now, until }
    }

    /// Returns the time that decides which nonces have expired, in Unix seconds. It never decreases from one claim of a
    /// verifier to the next.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Returns the first second in which the store may forget the nonce, in Unix seconds.
    #[must_use]
    pub fn until(&self) -> u64 {
        self.until
    }

    /// Returns the time from `now` to `until`, or zero if `until` is not after `now`.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        Duration::from_secs(self.until.saturating_sub(self.now))
    }
}

/// The result of claiming a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NonceStatus {
    /// The nonce was unused and is now recorded.
    New,
    /// The nonce is already recorded.
    Replayed,
    /// The claim arrived after its retention ended, so the store cannot tell whether the nonce was used.
    Expired,
}

/// An authentic claim whose nonce is not claimed yet.
pub(crate) struct PendingNonce {
    fields: Arc<Fields>,
    key: KeyLabel,
    now: u64,
    retention: Retention,
    is_link: bool,
}

/// The fields of an authentic claim, without its request. It is small, because a verifier keeps it while it waits.
pub(crate) struct SignedFields {
    fields: Arc<Fields>,
    key: KeyLabel,
}

impl Authentic<'_> {
    pub(crate) fn into_signed_fields(self) -> SignedFields {
        let (fields, key) = self.into_fields();
        SignedFields { fields, key }
    }
}

impl SignedFields {
    #[cfg(feature = "server")]
    pub(crate) fn app_id(&self) -> &AppId {
        &self.fields.app_id
    }

    #[cfg(feature = "server")]
    pub(crate) fn token(&self) -> Option<&Token> {
        self.fields.token.token()
    }

    #[cfg(feature = "tokens")]
    pub(crate) fn signed_by(&self) -> SignedBy {
        self.key.signed_by
    }

    #[cfg(feature = "server")]
    pub(crate) fn timestamp(&self) -> Timestamp {
        self.fields.timestamp
    }

    /// Checks the window again, with the same clock reading from which the nonce's retention is computed.
    pub(crate) fn pending(self, now: u64, forget: u64, window: &Window) -> Result<PendingNonce, Rejection> {
        let Self { fields, key } = self;
        window.check(fields.timestamp, now)?;
        let retention = Retention { now: forget, until: window.end(fields.timestamp) };
        Ok(PendingNonce { fields, key, now, retention, is_link: false })
    }

    /// Checks the end of a share link again. If the link may be opened more than once, there is nothing to claim.
    #[cfg(feature = "server")]
    pub(crate) fn pending_link(self, now: u64, forget: u64, window: &LinkWindow) -> Result<PendingLink, Rejection> {
        let Self { fields, key } = self;
        window.check(now)?;
        if fields.nonce.is_none() {
            return Ok(PendingLink::Reusable(ReusableLink { fields, key }));
        }
        let retention = Retention { now: forget, until: window.forget_nonce_at() };
        Ok(PendingLink::Once(PendingNonce { fields, key, now, retention, is_link: true }))
    }
}

/// An authentic share link before step 8.
#[cfg(feature = "server")]
pub(crate) enum PendingLink {
    /// A link for one use.
    Once(PendingNonce),
    Reusable(ReusableLink),
}

/// An authentic share link that may be opened until it ends.
#[cfg(feature = "server")]
pub(crate) struct ReusableLink {
    fields: Arc<Fields>,
    key: KeyLabel,
}

impl PendingNonce {
    pub(crate) fn app_id(&self) -> &AppId {
        &self.fields.app_id
    }

    /// The nonce. Only share links that may be opened more than once have none, and they are never pending.
    pub(crate) fn nonce(&self) -> Option<&Nonce> {
        self.fields.nonce.as_ref()
    }

    pub(crate) fn is_link(&self) -> bool {
        self.is_link
    }

    pub(crate) fn timestamp(&self) -> Timestamp {
        self.fields.timestamp
    }

    /// The fields, which outlive the claim.
    #[cfg(feature = "tokens")]
    pub(crate) fn fields(&self) -> Arc<Fields> {
        self.fields.clone()
    }

    /// The token, if a session key signed.
    #[cfg(feature = "tokens")]
    pub(crate) fn session_token(&self) -> Option<&Token> {
        self.fields.token.token().filter(|_| self.key.signed_by == SignedBy::SessionKey)
    }

    pub(crate) fn retention(&self) -> Retention {
        self.retention
    }

    /// Converts the store's result.
    pub(crate) fn resolve(self, status: NonceStatus) -> Result<Unrepeated, Rejection> {
        match status {
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

/// An authentic claim whose nonce a `NonceStore` has accepted as new.
///
/// Only a store's result makes an `Unrepeated`, and only from an [`Authentic`] claim:
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

/// The fields of a caller that passed all checks, and the key that signed.
#[derive(Clone, Debug)]
pub(crate) struct Verified {
    fields: Arc<Fields>,
    key: KeyLabel,
}

impl From<Unrepeated> for Verified {
    fn from(Unrepeated { fields, key }: Unrepeated) -> Self {
        Self { fields, key }
    }
}

#[cfg(feature = "server")]
impl From<ReusableLink> for Verified {
    fn from(ReusableLink { fields, key }: ReusableLink) -> Self {
        Self { fields, key }
    }
}

impl Verified {
    #[cfg(feature = "test-util")]
    pub(crate) fn for_test(app_id: AppId, token: Option<Token>, name: Option<KeyName>) -> Self {
        let (timestamp, nonce) = (Timestamp::for_test(), Some(Nonce::for_test()));
        let token = TokenClaim::new(&Scheme::new(), token);
        let key = KeyLabel { index: 0, name, signed_by: SignedBy::default() };
        Self { fields: Arc::new(Fields { app_id, timestamp, nonce, token }), key }
    }

    pub(crate) fn fields(&self) -> &Fields {
        &self.fields
    }

    pub(crate) fn key(&self) -> &KeyLabel {
        &self.key
    }

    /// Replaces the label of the key that signed, if its index or name has changed.
    #[cfg(feature = "server")]
    pub(crate) fn with_key(self, key: KeyLabel) -> Self {
        Self { key, ..self }
    }
}
