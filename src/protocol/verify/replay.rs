//! Step 8: the nonce of an authentic claim is new, by the answer of a store.

use std::{sync::Arc, time::Duration};

use crate::protocol::{
    claim::fields::Fields,
    field::value::{AppId, Nonce},
    key::app_key::KeyLabel,
    rejection::{Rejection, RejectionKind},
    verify::{freshness::Window, mac::Authentic},
};
#[cfg(feature = "test-util")]
use crate::protocol::{
    claim::token::TokenClaim, field::value::Timestamp, field::value::Token, key::app_key::KeyName,
    scheme::contract::Scheme,
};

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
    retention: Retention,
}

impl Authentic<'_> {
    /// Checks the window again, by the very reading of the clock from which the nonce's lifetime is computed.
    pub(crate) fn pending(self, now: u64, forget: u64, window: &Window) -> Result<PendingNonce, Rejection> {
        let (fields, key) = self.into_fields();
        window.check(fields.timestamp, now)?;
        let retention = Retention { now: forget, until: window.end(fields.timestamp) };
        Ok(PendingNonce { fields, key, now, retention })
    }
}

impl PendingNonce {
    pub(crate) fn app_id(&self) -> &AppId {
        &self.fields.app_id
    }

    pub(crate) fn nonce(&self) -> &Nonce {
        &self.fields.nonce
    }

    pub(crate) fn retention(&self) -> Retention {
        self.retention
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
