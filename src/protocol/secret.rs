//! A secret: long enough, redacted, wiped when dropped.

use std::fmt;

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

    #[cfg(test)]
    pub(crate) fn of_any_length(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
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

#[cfg(test)]
mod tests {
    use zeroize::ZeroizeOnDrop;

    use super::*;

    /// It does not compile otherwise.
    #[test]
    fn a_secret_is_wiped_when_dropped() {
        fn is_wiped(_: &impl ZeroizeOnDrop) {}
        let Secret(bytes) = Secret::of_nobody();
        is_wiped(&bytes);
    }
}
