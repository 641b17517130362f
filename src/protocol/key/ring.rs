//! The keys of one app, so that one can be changed for another.

use std::{fmt, sync::Arc};

use subtle::ConstantTimeEq;

use crate::protocol::key::{
    app_key::{Key, KeyLabel, KeyName},
    secret::Secret,
};

/// The keys of one app: a request is accepted if any of them signed it that is active at the time.
///
/// A ring may list keys whose time is to come or is over, as long as at most 4 are active in any one second. An app none
/// of whose keys is active is refused as an unknown one is. Clones share the keys.
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
    /// The most keys that an app can have at a time. Each costs an unknown signature one more HMAC.
    pub const MAX_ACTIVE_KEYS: usize = 4;

    /// The most keys that a ring lists, active or not.
    pub const MAX_KEYS: usize = 32;

    /// Takes the keys in the order in which they are tried: the one in use first.
    ///
    /// # Errors
    ///
    /// No key at all, more than [`KeyRing::MAX_KEYS`], or more than [`KeyRing::MAX_ACTIVE_KEYS`] active at once; a key
    /// that would never be active; two with one name, or with one secret.
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
            // The most are active when one of them begins to be.
            let at = key.not_before();
            if keys.iter().filter(|key| key.is_active(at)).count() > Self::MAX_ACTIVE_KEYS {
                return Err(KeyRingError::TooManyActive { at });
            }
        }
        Ok(Self(keys.into()))
    }

    /// With the labels under which they are told of.
    pub(crate) fn active_at(&self, now: u64) -> impl Iterator<Item = (usize, &Key)> {
        self.0.iter().enumerate().filter(move |(_, key)| key.is_active(now))
    }

    #[cfg(feature = "server")]
    pub(crate) fn get(&self, index: usize) -> Option<&Key> {
        self.0.get(index)
    }

    /// The label of the key with the same secret, if it is active.
    #[cfg(feature = "server")]
    pub(crate) fn active_label_of(&self, key: &Key, now: u64) -> Option<KeyLabel> {
        let is_same = |other: &Key| bool::from(other.secret().bytes().ct_eq(key.secret().bytes()));
        self.active_at(now).find(|(_, other)| is_same(other)).map(|(index, _)| self.label(index))
    }

    pub(crate) fn label(&self, index: usize) -> KeyLabel {
        KeyLabel { index, name: self.0.get(index).and_then(Key::name).cloned() }
    }
}

/// Who has two keys in one place cannot tell which of them is in use; who has one secret twice retires only half of it.
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

/// A [`KeyRing`] cannot hold these keys. Indices are places in the ring, from 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyRingError {
    /// There was no key.
    #[error("a key ring needs at least one key; an app without keys is not in the key store")]
    Empty,
    /// There were more than [`KeyRing::MAX_KEYS`].
    #[error("a key ring lists at most {} keys: take out those whose time is over", KeyRing::MAX_KEYS)]
    TooMany,
    /// More than [`KeyRing::MAX_ACTIVE_KEYS`] would be active at once.
    #[error(
        "at most {} keys may be active at once, and at Unix second {at} more are: retire an old one first",
        KeyRing::MAX_ACTIVE_KEYS
    )]
    TooManyActive {
        /// A second, in Unix seconds, in which they would be.
        at: u64,
    },
    /// A key's span ends before it begins.
    #[error("the key at index {index} would never be active: its \"not before\" is later than its \"not after\"")]
    NeverActive {
        /// Which key.
        index: usize,
    },
    /// Two keys have one name.
    #[error("two keys are named {0}: names tell them apart")]
    SameName(KeyName),
    /// Two keys have one secret.
    #[error("the keys at index {} and {} have the same secret: to retire one would not retire it", indices[0], indices[1])]
    SameSecret {
        /// Which keys.
        indices: [usize; 2],
    },
}
