//! The keys of one app, which allow key rotation.

use std::{fmt, sync::Arc};

use subtle::ConstantTimeEq;

use crate::protocol::key::{
    app_key::{Key, KeyLabel, KeyName, SignedBy},
    secret::Secret,
};

/// The keys of one app. A request is accepted if one of the currently active keys signed it.
///
/// A ring may contain keys that are not yet active or have expired, as long as at most 4 are active in any one second.
/// If an app has no active key, its requests are rejected like those of an unknown app. Clones share the keys.
///
/// ```
/// # use countersign::{Key, KeyRing, Secret};
/// let new = Secret::new("fedcba9876543210fedcba9876543210")?;
/// let old = Secret::new("0123456789abcdef0123456789abcdef")?;
/// let ring = KeyRing::new([new.clone(), old.clone()])?;
///
/// let (new, old) = (Key::from(new).with_name("2026-q4".parse()?), Key::from(old).with_name("2026-q3".parse()?));
/// let ring = KeyRing::new([new, old.with_not_after(1_793_491_199)])?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct KeyRing(Arc<[Key]>);

impl KeyRing {
    /// The maximum number of keys that can be active at one time: 4. For an invalid signature, the verifier computes
    /// one HMAC for each active key.
    pub const MAX_ACTIVE_KEYS: usize = 4;

    /// The maximum number of keys in a ring, active or not: 32.
    pub const MAX_KEYS: usize = 32;

    /// Makes a ring. List the keys in the order in which the verifier tries them: put the key in use first.
    ///
    /// # Errors
    ///
    /// Fails if there is no key, if there are more than [`KeyRing::MAX_KEYS`], if more than
    /// [`KeyRing::MAX_ACTIVE_KEYS`] are active at once, if a key is never active, or if two keys have the same name or
    /// the same secret.
    pub fn new<K: Into<Key>>(keys: impl IntoIterator<Item = K>) -> Result<Self, KeyRingError> {
        let keys: Vec<Key> = keys.into_iter().take(Self::MAX_KEYS + 1).map(Into::into).collect();
        match keys.len() {
            0 => return Err(KeyRingError::Empty),
            1..=Self::MAX_KEYS => {}
            _ => return Err(KeyRingError::TooMany),
        }
        for (index, key) in keys.iter().enumerate() {
            if key.not_before() > key.not_after() {
                return Err(KeyRingError::NeverActive { index });
            }
            check_distinct(&keys[..index], key, index)?;
            // The number of active keys is highest at the start of a key's span.
            let at = key.not_before();
            if keys.iter().filter(|key| key.is_active(at)).count() > Self::MAX_ACTIVE_KEYS {
                return Err(KeyRingError::TooManyActive { at });
            }
        }
        Ok(Self(keys.into()))
    }

    /// Returns the keys that are active at `now`, each with its index in the ring.
    pub(crate) fn active_at(&self, now: u64) -> impl Iterator<Item = (usize, &Key)> {
        self.0.iter().enumerate().filter(move |(_, key)| key.is_active(now))
    }

    #[cfg(feature = "server")]
    pub(crate) fn get(&self, index: usize) -> Option<&Key> {
        self.0.get(index)
    }

    /// Returns the label of the key with the same secret, if that key is active.
    #[cfg(feature = "server")]
    pub(crate) fn active_label_of(&self, key: &Key, now: u64) -> Option<KeyLabel> {
        let is_same = |other: &Key| bool::from(other.secret().bytes().ct_eq(key.secret().bytes()));
        self.active_at(now).find(|(_, other)| is_same(other)).map(|(index, _)| self.label(index))
    }

    pub(crate) fn label(&self, index: usize) -> KeyLabel {
        let name = self.0.get(index).and_then(Key::name).cloned();
        KeyLabel { index, name, signed_by: SignedBy::AppKey }
    }
}

/// Rejects a repeated name or secret. Two keys with one name cannot be distinguished in logs. A secret that is listed
/// twice stays active when one of its keys is removed.
fn check_distinct(others: &[Key], key: &Key, index: usize) -> Result<(), KeyRingError> {
    for (other_index, other) in others.iter().enumerate() {
        match (key.name(), other.name()) {
            (Some(name), Some(other)) if name == other => return Err(KeyRingError::SameName(name.clone())),
            _ => {}
        }
        if key.secret().bytes().ct_eq(other.secret().bytes()).into() {
            return Err(KeyRingError::SameSecret { indices: [other_index, index] });
        }
    }
    Ok(())
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

/// The error for keys that cannot form a [`KeyRing`]. Indices are positions in the ring, starting at 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyRingError {
    /// There are no keys.
    #[error("a key ring needs at least one key; an app without keys is not in the key store")]
    Empty,
    /// There are more than [`KeyRing::MAX_KEYS`] keys.
    #[error("a key ring lists at most {} keys: take out those whose time is over", KeyRing::MAX_KEYS)]
    TooMany,
    /// More than [`KeyRing::MAX_ACTIVE_KEYS`] keys would be active at once.
    #[error(
        "at most {} keys may be active at once, and at Unix second {at} more are: retire an old one first",
        KeyRing::MAX_ACTIVE_KEYS
    )]
    TooManyActive {
        /// A second in which too many keys would be active, in Unix seconds.
        at: u64,
    },
    /// A key's span ends before it begins.
    #[error("the key at index {index} would never be active: its \"not before\" is later than its \"not after\"")]
    NeverActive {
        /// The index of the key.
        index: usize,
    },
    /// Two keys have the same name.
    #[error("two keys are named {0}: names tell them apart")]
    SameName(KeyName),
    /// Two keys have the same secret.
    #[error("the keys at index {} and {} have the same secret: retiring one of them would not retire the secret", indices[0], indices[1])]
    SameSecret {
        /// The indices of the keys.
        indices: [usize; 2],
    },
}
