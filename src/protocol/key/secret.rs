//! A secret: long enough, redacted, wiped when dropped.

use std::{fmt, str::FromStr};

use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

/// A key that an app shares with the service: at least 16 bytes.
///
/// Parse it from the text in which it is written down, the same on both ends and in a key file:
///
/// | written | the key's bytes |
/// | --- | --- |
/// | `hex:` and an even number of hex digits | the decoded bytes |
/// | `base64:` and the standard alphabet (`+`, `/`, `=` padding) | the decoded bytes |
/// | `text:` and any text | the text in UTF-8, by the rules of [`Secret::new`] |
///
/// The key is wiped from memory when it is dropped, and `Debug` does not show it. The text that it was parsed from is
/// the caller's to wipe.
///
/// ```
/// # use countersign::Secret;
/// let secret: Secret = "hex:f3a1c20d5b7e4968a0d1c2b3e4f50617f3a1c20d5b7e4968a0d1c2b3e4f50617".parse()?;
/// assert_eq!(format!("{secret:?}"), "Secret(..)");
/// assert!("text:too short".parse::<Secret>().is_err());
/// # Ok::<(), countersign::SecretError>(())
/// ```
///
/// A key from a file, such as a Docker or Kubernetes secret, often ends with a line end. Trim it:
///
/// ```no_run
/// # use countersign::Secret;
/// let secret: Secret = std::fs::read_to_string("/run/secrets/orders-key")?.trim_end().parse()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The shortest secret that is accepted: 16 bytes.
    pub const MIN_LEN: usize = 16;

    /// Makes a secret of a text, whose bytes are the key as they are: the same as parsing it behind `text:`.
    ///
    /// Decoded or random bytes may begin or end with anything: use [`Secret::from_bytes`] for them.
    ///
    /// ```
    /// # use countersign::Secret;
    /// let secret = Secret::new("0123456789abcdef0123456789abcdef")?;
    /// assert!(Secret::new("0123456789abcdef0123456789abcdef\n").is_err());
    /// # Ok::<(), countersign::SecretError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The text has fewer than [`Secret::MIN_LEN`] bytes, or something around it that is hardly part of the key and that
    /// the other end does not have: it begins or ends with ASCII white space or a byte order mark, or stands in
    /// quotes.
    pub fn new(text: impl Into<Vec<u8>>) -> Result<Self, SecretError> {
        let bytes = Zeroizing::new(text.into());
        check_ends(&bytes)?;
        Self::checked(bytes)
    }

    /// Makes a secret of any bytes: decoded from hex or base64, or random.
    ///
    /// ```
    /// # use countersign::Secret;
    /// let secret = Secret::from_bytes(*b"\n0123456789abcde")?;
    /// # Ok::<(), countersign::SecretError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// There are fewer than [`Secret::MIN_LEN`] bytes.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Self, SecretError> {
        Self::checked(Zeroizing::new(bytes.into()))
    }

    fn checked(bytes: Zeroizing<Vec<u8>>) -> Result<Self, SecretError> {
        match bytes.len() {
            len if len < Self::MIN_LEN => Err(Problem::TooShort { len }.into()),
            _ => Ok(Self(bytes)),
        }
    }

    #[cfg(test)]
    pub(crate) fn of_any_length(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// For the work that is done where there is no key. What it signs is never accepted.
    pub(crate) fn dummy() -> Self {
        Self(Zeroizing::new(vec![0; 32]))
    }
}

impl FromStr for Secret {
    type Err = SecretError;

    /// Parses `hex:`, `base64:` or `text:` and the key, as a key file has it.
    ///
    /// # Errors
    ///
    /// There is another prefix or none, what follows it is not written as the prefix says, or it is no key for
    /// [`Secret::new`].
    fn from_str(written: &str) -> Result<Self, SecretError> {
        check_ends(written.as_bytes())?;
        match written.split_once(':') {
            Some(("text", text)) => Self::new(text),
            Some(("hex", digits)) => Self::checked(decode_hex(digits).ok_or(Problem::Hex)?),
            Some(("base64", digits)) => Self::checked(decode_base64(digits).ok_or(Problem::Base64)?),
            _ => Err(Problem::Prefix.into()),
        }
    }
}

/// Refuses what files, editors and shells leave around a key.
fn check_ends(text: &[u8]) -> Result<(), Problem> {
    /// UTF-8, and UTF-16 in both byte orders.
    const BYTE_ORDER_MARKS: [&[u8]; 3] = [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"];
    let is_space = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_whitespace);
    if is_space(text.first()) {
        return Err(Problem::Around { place: "begins with", found: "white space" });
    }
    if is_space(text.last()) {
        return Err(Problem::Around { place: "ends with", found: "white space, such as a line end" });
    }
    if BYTE_ORDER_MARKS.iter().any(|mark| text.starts_with(mark)) {
        return Err(Problem::Around { place: "begins with", found: "a byte order mark" });
    }
    if BYTE_ORDER_MARKS.iter().any(|mark| text.ends_with(mark)) {
        return Err(Problem::Around { place: "ends with", found: "a byte order mark" });
    }
    if matches!(text, [b'"', .., b'"'] | [b'\'', .., b'\'']) {
        return Err(Problem::Around { place: "stands in", found: "quotes" });
    }
    Ok(())
}

fn decode_hex(digits: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; digits.len() / 2]);
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    Some(bytes)
}

fn decode_base64(digits: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; digits.len() / 4 * 3]);
    let len = Base64::decode(digits, &mut bytes).ok()?.len();
    bytes.truncate(len);
    Some(bytes)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A text or some bytes are no [`Secret`]. The message says why, and repeats nothing of the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct SecretError(#[from] Problem);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("the secret has {len} bytes: at least {} are needed, 32 random ones are recommended", Secret::MIN_LEN)]
    TooShort { len: usize },
    #[error("the secret {place} {found}: remove it, or write a key that has it as hex:")]
    Around { place: &'static str, found: &'static str },
    #[error("a secret begins with text:, hex: or base64:, which says how it is written")]
    Prefix,
    #[error("after hex: an even number of hex digits is expected")]
    Hex,
    #[error("after base64: the standard alphabet (with + and /) is expected, and = at the end where it is due")]
    Base64,
}

#[cfg(test)]
mod tests {
    use zeroize::ZeroizeOnDrop;

    use super::*;

    /// It does not compile otherwise.
    #[test]
    fn a_secret_is_wiped_when_dropped() {
        fn is_wiped(_: &impl ZeroizeOnDrop) {}
        let Secret(bytes) = Secret::dummy();
        is_wiped(&bytes);
    }
}
