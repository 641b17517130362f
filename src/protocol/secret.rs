//! An app's secret keys: redacted, wiped when dropped, their HMAC state prepared once.

use std::{fmt, sync::Arc};

use hmac::{Hmac, KeyInit};
use sha2::Sha256;
use zeroize::Zeroizing;

/// A key that an app shares with the service: at least 16 bytes, taken as they are.
///
/// It is wiped from memory when dropped, and `Debug` does not show it.
///
/// ```
/// # use countersign::Secret;
/// let secret = Secret::new("0123456789abcdef0123456789abcdef")?;
/// assert_eq!(format!("{secret:?}"), "Secret(..)");
/// assert!(Secret::new("too short").is_err());
/// # Ok::<(), countersign::SecretError>(())
/// ```
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The shortest secret that is taken: 16 bytes.
    pub const MIN_LEN: usize = 16;

    /// Takes the secret's bytes.
    ///
    /// # Errors
    ///
    /// Fewer than [`Secret::MIN_LEN`] bytes could be guessed.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, SecretError> {
        let bytes = Zeroizing::new(bytes.into());
        if bytes.len() < Self::MIN_LEN {
            return Err(SecretError { len: bytes.len() });
        }
        Ok(Self(bytes))
    }

    /// For the work that is done where there is no key. What it signs is never accepted.
    pub(crate) fn of_nobody() -> Self {
        Self(Zeroizing::new(vec![0; 32]))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A secret has fewer than [`Secret::MIN_LEN`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the secret has {len} bytes: at least {} are needed, 32 random ones are recommended", Secret::MIN_LEN)]
pub struct SecretError {
    len: usize,
}

/// The active keys of one app, at most 4, so that a key can be rotated: a request that any of them signed is accepted.
///
/// Clones share the keys.
///
/// ```
/// # use countersign::{KeyRing, Secret};
/// let new = Secret::new("fedcba9876543210fedcba9876543210")?;
/// let old = Secret::new("0123456789abcdef0123456789abcdef")?;
/// let ring = KeyRing::new([new, old])?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct KeyRing(Arc<[Key]>);

impl KeyRing {
    /// The most keys that an app can have at a time. Each costs an unknown signature one more HMAC.
    pub const MAX_ACTIVE_KEYS: usize = 4;

    /// Takes the keys in the order in which they are tried: the one in use first.
    ///
    /// # Errors
    ///
    /// No key at all, or more than [`KeyRing::MAX_ACTIVE_KEYS`].
    pub fn new<K: Into<Key>>(keys: impl IntoIterator<Item = K>) -> Result<Self, KeyRingError> {
        let keys: Vec<Key> = keys.into_iter().take(Self::MAX_ACTIVE_KEYS + 1).map(Into::into).collect();
        match keys.len() {
            0 => Err(KeyRingError::Empty),
            1..=Self::MAX_ACTIVE_KEYS => Ok(Self(keys.into())),
            _ => Err(KeyRingError::TooMany),
        }
    }

    pub(crate) fn keys(&self) -> &[Key] {
        &self.0
    }
}

impl From<Secret> for KeyRing {
    fn from(secret: Secret) -> Self {
        Self([Key::from(secret)].into())
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRing({} keys)", self.0.len())
    }
}

/// A [`KeyRing`] cannot hold these keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyRingError {
    /// There was no key.
    #[error("a key ring needs at least one key; an app without keys is not in the key store")]
    Empty,
    /// There were more than [`KeyRing::MAX_ACTIVE_KEYS`].
    #[error("a key ring holds at most {} keys: retire an old one first", KeyRing::MAX_ACTIVE_KEYS)]
    TooMany,
}

/// One key of a [`KeyRing`]: a secret beside its HMAC state, which is cheaper to clone than to compute.
#[derive(Clone)]
pub struct Key {
    secret: Secret,
    state: Hmac<Sha256>,
}

impl Key {
    #[cfg(test)]
    pub(crate) fn of_any_length(bytes: Vec<u8>) -> Self {
        Self::from(Secret(Zeroizing::new(bytes)))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.secret.0
    }

    pub(crate) fn state(&self) -> Hmac<Sha256> {
        self.state.clone()
    }
}

impl From<Secret> for Key {
    fn from(secret: Secret) -> Self {
        Self { state: prepared(&secret.0), secret }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// RFC 2104.
#[expect(clippy::expect_used, reason = "RFC 2104 gives every length of key a state")]
fn prepared(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}
