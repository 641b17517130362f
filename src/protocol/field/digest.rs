//! The body digest and the signature: 32 bytes, written as 64 hex digits.

use std::{fmt, str::FromStr};

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::protocol::{encode::charset::Charset, field::error::FieldError};

/// The SHA-256 of a body's bytes: 64 lowercase hex digits.
///
/// ```
/// # use countersign::BodyDigest;
/// let digest = BodyDigest::of(b"{}");
/// assert_eq!(digest.to_string(), "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BodyDigest([u8; 32]);

impl BodyDigest {
    /// Computes the digest of a whole body.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        Self(Sha256::digest(body).into())
    }

    /// Returns the 32 bytes of the digest.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, FieldError> {
        lowercase_hex(bytes, "body digest").map(Self)
    }

    pub(crate) fn to_hex(self) -> HexDigits {
        HexDigits::new(&self.0)
    }
}

impl From<[u8; 32]> for BodyDigest {
    /// Makes a digest from a SHA-256 that was computed elsewhere, for example of a file.
    fn from(sha256: [u8; 32]) -> Self {
        Self(sha256)
    }
}

impl FromStr for BodyDigest {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        Self::parse(text.as_bytes())
    }
}

impl fmt::Display for BodyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_hex().as_bytes().iter().try_for_each(|&digit| fmt::Write::write_char(f, digit.into()))
    }
}

impl fmt::Debug for BodyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BodyDigest({self})")
    }
}

/// A request's signature: 64 lowercase hex digits. It cannot be compared with `==` and cannot be printed.
#[derive(Clone, Copy)]
pub(crate) struct Signature([u8; 32]);

impl Signature {
    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, FieldError> {
        lowercase_hex(bytes, "sign").map(Self)
    }

    /// Compares the signature with a MAC in constant time. Comparing words is faster than comparing bytes.
    pub(crate) fn ct_eq(&self, mac: &[u8; 32]) -> Choice {
        words(&self.0).as_slice().ct_eq(&words(mac))
    }

    pub(crate) fn to_hex(self) -> HexDigits {
        HexDigits::new(&self.0)
    }
}

fn words(bytes: &[u8; 32]) -> [u64; 4] {
    std::array::from_fn(|i| u64::from_ne_bytes(std::array::from_fn(|j| bytes[8 * i + j])))
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(..)")
    }
}

/// 32 bytes as 64 lowercase hex digits.
pub(crate) struct HexDigits([u8; 64]);

impl HexDigits {
    fn new(bytes: &[u8; 32]) -> Self {
        let mut digits = [b'0'; 64];
        // This cannot fail, because 64 digits hold 32 bytes.
        let _ = hex::encode_to_slice(bytes, &mut digits);
        Self(digits)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

/// Decodes lowercase hex without branches that depend on a digit. The crate `hex` also accepts uppercase and is several
/// times slower.
fn lowercase_hex(text: &[u8], name: &'static str) -> Result<[u8; 32], FieldError> {
    static ALLOWED: Charset = Charset::lowercase_hex();
    let error = || FieldError::new(name, "exactly 64 lowercase hex digits", text, &ALLOWED);
    let digits: [u8; 64] = text.try_into().map_err(|_| error())?;
    let values = digits.map(hex_value);
    if values.iter().fold(0, |all, value| all | value) > 15 {
        return Err(error());
    }
    Ok(std::array::from_fn(|i| values[2 * i] << 4 | values[2 * i + 1]))
}

/// Returns the value of a lowercase hex digit, or more than 15 for any other byte.
fn hex_value(digit: u8) -> u8 {
    let (decimal, letter) = (digit.wrapping_sub(b'0'), digit.wrapping_sub(b'a'));
    let letter = if letter < 6 { letter + 10 } else { 0xff };
    if decimal < 10 { decimal } else { letter }
}

#[cfg(test)]
mod tests {
    use std::{fmt::Display, hash::Hash, ops::Deref};

    use static_assertions::assert_not_impl_any;

    use super::*;

    /// Compiles only if signatures cannot be compared.
    #[test]
    fn signature_cannot_be_compared() {
        assert_not_impl_any!(Signature: PartialEq, PartialOrd, Hash, Display, Deref, AsRef<[u8]>, AsRef<[u8; 32]>);
    }
}
