//! A key of an app: a secret, a name, and the time span in which it is active.

use std::{fmt, sync::Arc};

use hmac::{Hmac, KeyInit};
use sha2::Sha256;

use crate::protocol::{encode::charset::Charset, field::error::FieldError, key::secret::Secret};

/// A key of an app: a [`Secret`] with an optional name and an optional time span.
///
/// The key is active only in its time span. At any other time its signatures are rejected with `invalid_signature`, as
/// if the key did not exist. The verifier compares the span with its clock when it checks the signature, in whole
/// seconds. Both bounds are included. The name identifies the key during a rotation.
///
/// ```
/// # use countersign::{Key, Secret};
/// let secret = Secret::new("fedcba9876543210fedcba9876543210")?;
/// let key = Key::from(secret).with_name("2026-q4".parse()?).with_not_before(1_790_812_800);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Key {
    secret: Secret,
    /// Stored, because cloning is cheaper than computing.
    state: Hmac<Sha256>,
    name: Option<KeyName>,
    not_before: u64,
    not_after: u64,
}

impl Key {
    /// Sets the name that distinguishes the key from the app's other keys. `Caller::key_name` returns it. Default: no
    /// name.
    #[must_use]
    pub fn with_name(self, name: KeyName) -> Self {
        Self { name: Some(name), ..self }
    }

    /// Sets the first second in which the key is active, in Unix seconds. Default: no lower bound.
    #[must_use]
    pub fn with_not_before(self, unix_seconds: u64) -> Self {
        Self { not_before: unix_seconds, ..self }
    }

    /// Sets the last second in which the key is active, in Unix seconds. Default: no upper bound.
    #[must_use]
    pub fn with_not_after(self, unix_seconds: u64) -> Self {
        Self { not_after: unix_seconds, ..self }
    }

    /// Returns the name of the key, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&KeyName> {
        self.name.as_ref()
    }

    /// Returns the first second in which the key is active, in Unix seconds. It is 0 if there is no lower bound.
    #[must_use]
    pub fn not_before(&self) -> u64 {
        self.not_before
    }

    /// Returns the last second in which the key is active, in Unix seconds. It is `u64::MAX` if there is no upper
    /// bound.
    #[must_use]
    pub fn not_after(&self) -> u64 {
        self.not_after
    }

    pub(crate) fn is_active(&self, now: u64) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }

    pub(crate) fn state(&self) -> Hmac<Sha256> {
        self.state.clone()
    }
}

impl From<Secret> for Key {
    /// Makes a key without a name, which is always active.
    fn from(secret: Secret) -> Self {
        Self { state: prepared(secret.bytes()), secret, name: None, not_before: 0, not_after: u64::MAX }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("name", &self.name)
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// Prepares the HMAC state for a key. RFC 2104.
#[expect(clippy::expect_used, reason = "RFC 2104 gives every length of key a state")]
pub(crate) fn prepared(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

/// The name of a key: 1 to 64 of `A-Z a-z 0-9 . _ -`. It is not a secret, and appears in logs and metrics.
///
/// ```
/// # use countersign::KeyName;
/// let name: KeyName = "2026-q4".parse()?;
/// assert_eq!(name.as_str(), "2026-q4");
/// assert!("no spaces".parse::<KeyName>().is_err());
/// # Ok::<(), countersign::FieldError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyName(Arc<str>);

impl KeyName {
    /// The name's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for KeyName {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        static ALLOWED: Charset = Charset::alphanumeric_and(b"._-");
        if !(1..=64).contains(&text.len()) || !ALLOWED.has_all(text.as_bytes()) {
            return Err(FieldError::new("key name", "1 to 64 of A-Z a-z 0-9 . _ -", text.as_bytes(), &ALLOWED));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyName({self})")
    }
}

/// The kind of key that signed a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SignedBy {
    /// A key of the app, which its servers hold.
    #[default]
    AppKey,
    /// The key of a session, which a browser or a phone holds. It is derived from a key of the app and a token.
    SessionKey,
}

/// Identifies the key that signed a request, without the key itself. The key is wiped as soon as its ring is dropped.
#[derive(Clone, Debug)]
pub(crate) struct KeyLabel {
    /// The index of the app's key, from which a session key is derived.
    pub(crate) index: usize,
    pub(crate) name: Option<KeyName>,
    pub(crate) signed_by: SignedBy,
}

#[cfg(test)]
mod tests {
    use hmac::{EagerHash, block_api::HmacCore, digest::block_api::Buffer};
    use zeroize::ZeroizeOnDrop;

    use super::*;

    /// Compiles only if the state is wiped on drop.
    #[test]
    fn the_state_of_the_mac_is_wiped_when_dropped() {
        fn is_wiped<T: ZeroizeOnDrop>() {}
        let _: Hmac<Sha256> = Key::from(Secret::dummy()).state;
        // `Hmac` itself does not implement `ZeroizeOnDrop`. It consists of two hash states and the rest of a block.
        is_wiped::<<Sha256 as EagerHash>::Core>();
        is_wiped::<Buffer<HmacCore<Sha256>>>();
    }
}
