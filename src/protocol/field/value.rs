//! The fields of a signed request, each parsed once against its grammar.

use std::{fmt, str::FromStr, sync::Arc};

use arrayvec::ArrayString;

use crate::protocol::{encode::charset::Charset, field::error::FieldError};

/// A field of a signed request. It names the field in the [`Scheme`](crate::protocol::Scheme) and in errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Field {
    /// The app whose key signs: `x-app-id`, `appId`.
    AppId,
    /// The time of signing: `x-timestamp`, `timestamp`.
    Timestamp,
    /// The value that makes the request unique: `x-nonce`, `nonce`.
    Nonce,
    /// The API or user token: `x-token`, `token`. Optional.
    Token,
    /// The signature: `x-sign`, `sign`.
    Sign,
    /// The SHA-256 of the body: `x-content-sha256`. Always a header.
    BodyDigest,
}

/// The public id of an app: 1 to 64 of `A-Z a-z 0-9 . _ -`.
///
/// ```
/// # use countersign::AppId;
/// let app: AppId = "demo".parse()?;
/// assert_eq!(app.as_str(), "demo");
/// assert!("no spaces".parse::<AppId>().is_err());
/// # Ok::<(), countersign::FieldError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppId(ArrayString<64>);

impl AppId {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, FieldError> {
        const EXPECTED: &str = "1 to 64 of A-Z a-z 0-9 . _ -";
        static ALLOWED: Charset = Charset::alphanumeric_and(b"._-");
        inline(bytes, 1, &ALLOWED, "app id", EXPECTED).map(Self)
    }

    /// Returns the text of the id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A value that an app uses only once: 6 to 128 of `A-Z a-z 0-9 . _ ~ -`.
///
/// `Signer::sign` makes 32 hex digits from 128 random bits.
///
/// ```
/// # use countersign::Nonce;
/// let nonce: Nonce = "4f3c2b1a0d9e8f7a6b5c4d3e2f1a0b9c".parse()?;
/// assert!("short".parse::<Nonce>().is_err());
/// # Ok::<(), countersign::FieldError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Nonce(ArrayString<128>);

impl Nonce {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, FieldError> {
        const EXPECTED: &str = "6 to 128 of A-Z a-z 0-9 . _ ~ -";
        static ALLOWED: Charset = Charset::alphanumeric_and(b"._~-");
        inline(bytes, 6, &ALLOWED, "nonce", EXPECTED).map(Self)
    }

    /// Returns the text of the nonce.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The time at which a request was signed: Unix seconds, 1 to 18 digits without a leading zero.
///
/// Values with 13, 16 or 19 digits are rejected, because they are milliseconds, microseconds or nanoseconds.
///
/// ```
/// # use countersign::Timestamp;
/// let timestamp: Timestamp = "1700000000".parse()?;
/// assert_eq!(timestamp.unix_seconds(), 1_700_000_000);
///
/// let milliseconds = "1700000000000".parse::<Timestamp>().unwrap_err();
/// assert!(milliseconds.to_string().contains("milliseconds"));
/// # Ok::<(), countersign::FieldError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    const EXPECTED: &str = "Unix seconds, 1 to 18 digits without sign or leading zero";

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, FieldError> {
        static DIGITS: Charset = Charset::digits();
        if !matches!(bytes, [b'1'..=b'9', rest @ ..] if rest.len() < 19 && rest.iter().all(u8::is_ascii_digit)) {
            return Err(match bytes {
                [b'0', ..] => FieldError::other("timestamp", Self::EXPECTED, "a leading zero"),
                _ => FieldError::new("timestamp", Self::EXPECTED, bytes, &DIGITS),
            });
        }
        // This cannot overflow, because numbers with 19 digits are less than 2^64.
        let seconds = bytes.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        Self::try_from(seconds)
    }

    /// Returns the seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn unix_seconds(self) -> u64 {
        self.0
    }
}

impl TryFrom<u64> for Timestamp {
    type Error = FieldError;

    /// Makes a timestamp from Unix seconds.
    ///
    /// # Errors
    ///
    /// Fails for zero, and for numbers with 13 digits (milliseconds), 16 digits (microseconds), or 19 digits
    /// (nanoseconds) or more.
    fn try_from(unix_seconds: u64) -> Result<Self, FieldError> {
        let found = match unix_seconds {
            0 => "0",
            1_000_000_000_000..=9_999_999_999_999 => "13 digits, which are milliseconds: divide them by 1000",
            1_000_000_000_000_000..=9_999_999_999_999_999 => {
                "16 digits, which are microseconds: divide them by 1000000"
            }
            1_000_000_000_000_000_000..=9_999_999_999_999_999_999 => {
                "19 digits, which are nanoseconds: divide them by 1000000000"
            }
            10_000_000_000_000_000_000.. => "20 digits",
            seconds => return Ok(Self(seconds)),
        };
        Err(FieldError::other("timestamp", Self::EXPECTED, found))
    }
}

#[cfg(feature = "test-util")]
impl Timestamp {
    pub(crate) fn for_test() -> Self {
        Self(1_700_000_000)
    }
}

#[cfg(feature = "test-util")]
impl Nonce {
    pub(crate) fn for_test() -> Self {
        let mut nonce = ArrayString::new();
        nonce.push_str("for-test");
        Self(nonce)
    }
}

/// An API token or a user token: 1 to 512 of `A-Z a-z 0-9 . _ ~ + / = -`. `Debug` does not show it.
///
/// ```
/// # use countersign::Token;
/// let token: Token = "tok_2mXr8-._~+/=9".parse()?;
/// assert_eq!(format!("{token:?}"), "Token(..)");
/// # Ok::<(), countersign::FieldError>(())
/// ```
#[derive(Clone)]
pub struct Token(Arc<str>);

impl Token {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, FieldError> {
        const EXPECTED: &str = "1 to 512 of A-Z a-z 0-9 . _ ~ + / = -";
        static ALLOWED: Charset = Charset::alphanumeric_and(b"._~+/=-");
        text(bytes, 1, 512, &ALLOWED, "token", EXPECTED).map(|token| Self(token.into()))
    }

    /// Makes a token of text that has the grammar of a token.
    #[cfg(feature = "tokens")]
    pub(crate) fn of_valid_text(text: String) -> Self {
        Self(text.into())
    }

    /// Returns the text of the token. It is a secret: do not log it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

fn text<'a>(
    bytes: &'a [u8],
    min: usize,
    max: usize,
    allowed: &Charset,
    name: &'static str,
    expected: &'static str,
) -> Result<&'a str, FieldError> {
    let error = || FieldError::new(name, expected, bytes, allowed);
    if bytes.len() < min || bytes.len() > max || !allowed.has_all(bytes) {
        return Err(error());
    }
    std::str::from_utf8(bytes).map_err(|_| error())
}

pub(crate) fn inline<const MAX: usize>(
    bytes: &[u8],
    min: usize,
    allowed: &Charset,
    name: &'static str,
    expected: &'static str,
) -> Result<ArrayString<MAX>, FieldError> {
    let text = text(bytes, min, MAX, allowed, name, expected)?;
    ArrayString::from(text).map_err(|_| FieldError::new(name, expected, bytes, allowed))
}

macro_rules! from_str {
    ($($field:ty),*) => {$(
        impl FromStr for $field {
            type Err = FieldError;

            fn from_str(text: &str) -> Result<Self, FieldError> {
                Self::parse(text.as_bytes())
            }
        }
    )*};
}
from_str!(AppId, Nonce, Timestamp, Token);

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl AsRef<str> for AppId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AppId({self})")
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonce(..)")
    }
}
