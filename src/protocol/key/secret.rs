//! The secret of a key: it has a minimum length, is redacted in `Debug`, and is wiped on drop.

use std::{fmt, str::FromStr};

use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

/// A secret that an app shares with the service: at least 16 bytes.
///
/// Parse it from one of these text forms. Use the same text on both ends and in a key file:
///
/// | written | the key's bytes |
/// | --- | --- |
/// | `hex:` and an even number of hex digits | the decoded bytes |
/// | `base64:` and the standard alphabet (`+`, `/`, `=` padding) | the decoded bytes |
/// | `text:` and any text | the text in UTF-8, by the rules of [`Secret::new`] |
///
/// The secret is wiped from memory when it is dropped, and `Debug` does not show it. The caller must wipe the text from
/// which it was parsed.
///
/// ```
/// # use countersign::Secret;
/// let secret: Secret = "hex:f3a1c20d5b7e4968a0d1c2b3e4f50617f3a1c20d5b7e4968a0d1c2b3e4f50617".parse()?;
/// assert_eq!(format!("{secret:?}"), "Secret(..)");
/// assert!("text:too short".parse::<Secret>().is_err());
/// # Ok::<(), countersign::SecretError>(())
/// ```
///
/// A secret in a file, such as a Docker or Kubernetes secret, often ends with a newline. Trim it:
///
/// ```no_run
/// # use countersign::Secret;
/// let secret: Secret = std::fs::read_to_string("/run/secrets/orders-key")?.trim_end().parse()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The minimum length of a secret: 16 bytes.
    pub const MIN_LEN: usize = 16;

    /// Makes a secret from a text. The bytes of the text are the key, as with the `text:` prefix.
    ///
    /// For decoded or random bytes, which may begin or end with any byte, use [`Secret::from_bytes`].
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
    /// Fails if the text has fewer than [`Secret::MIN_LEN`] bytes, begins or ends with ASCII white space or a byte
    /// order mark, or is enclosed in quotes. These characters are usually not part of the key, and the other end does
    /// not have them.
    pub fn new(text: impl Into<Vec<u8>>) -> Result<Self, SecretError> {
        let bytes = Zeroizing::new(text.into());
        check_ends(&bytes)?;
        Self::checked(bytes)
    }

    /// Makes a secret from any bytes: decoded from hex or base64, or random.
    ///
    /// ```
    /// # use countersign::Secret;
    /// let secret = Secret::from_bytes(*b"\n0123456789abcde")?;
    /// # Ok::<(), countersign::SecretError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails if there are fewer than [`Secret::MIN_LEN`] bytes.
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

    /// Makes a secret from the lowercase hex digits of these bytes.
    pub(crate) fn of_hex(bytes: &[u8; 32]) -> Self {
        let mut digits = Zeroizing::new(vec![0; 64]);
        // The digits have the length that the bytes need.
        let _ = hex::encode_to_slice(bytes, &mut digits);
        Self(digits)
    }

    /// Makes a dummy secret, so that requests of unknown apps take the same time. Its signatures are never accepted.
    pub(crate) fn dummy() -> Self {
        Self(Zeroizing::new(vec![0; 32]))
    }
}

impl FromStr for Secret {
    type Err = SecretError;

    /// Parses a secret with the prefix `hex:`, `base64:` or `text:`, as in a key file.
    ///
    /// # Errors
    ///
    /// Fails if the prefix is missing or unknown, if the text after it is not in the format of the prefix, or if
    /// [`Secret::new`] rejects the key.
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

/// Rejects characters that files, editors and shells add around a key.
fn check_ends(text: &[u8]) -> Result<(), Problem> {
    /// The byte order marks of UTF-8 and of UTF-16 in both byte orders.
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

/// The error for a text or bytes that are not a valid [`Secret`]. The message gives the reason and never contains the
/// key.
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

    /// Compiles only if a secret is wiped on drop.
    #[test]
    fn a_secret_is_wiped_when_dropped() {
        fn is_wiped(_: &impl ZeroizeOnDrop) {}
        let Secret(bytes) = Secret::dummy();
        is_wiped(&bytes);
    }
}
