//! The key of a submission, which the client chooses.

use std::{fmt, str::FromStr, sync::Arc};

use http::HeaderName;

use crate::protocol::{
    encode::{charset::Charset, grammar::trim},
    field::error::FieldError,
};

/// The key of a submission, from the header `idempotency-key`: 1 to 255 printable ASCII characters, without `"` and `\`.
///
/// The header is a Structured Field string (RFC 9651, section 3.3.3) without parameters, as in the IETF draft
/// `draft-ietf-httpapi-idempotency-key-header`. A bare text is the same key: `"8e03978e"` and `8e03978e`. A bare text cannot
/// contain spaces, `"`, `,` or `;`. Keys are compared byte for byte. `Debug` does not show a key.
///
/// ```
/// use countersign::submission::IdempotencyKey;
///
/// let key: IdempotencyKey = "\"8e03978e\"".parse()?;
/// assert_eq!(key, "8e03978e".parse()?);
/// assert!("two words".parse::<IdempotencyKey>().is_err());
/// # Ok::<(), countersign::FieldError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(Arc<str>);

/// The header with the key.
pub(crate) static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The most characters of a key.
const MAX: usize = 255;

impl IdempotencyKey {
    pub(crate) fn parse(value: &[u8]) -> Result<Self, FieldError> {
        const NAME: &str = "idempotency key";
        const EXPECTED: &str = "one key of 1 to 255 visible ASCII characters without \" , ; or such a key in double quotes, \
                                which may contain spaces, commas and semicolons, but no \\";
        let (text, allowed) = match trim(value) {
            [b'"', text @ .., b'"'] => (text, &QUOTED),
            [b'"', ..] => return Err(FieldError::other(NAME, EXPECTED, "a quote that is not closed at the end")),
            text => (text, &BARE),
        };
        let error = || FieldError::new(NAME, EXPECTED, text, allowed);
        if text.is_empty() || text.len() > MAX || !allowed.has_all(text) {
            return Err(error());
        }
        std::str::from_utf8(text).map(|text| Self(text.into())).map_err(|_| error())
    }

    /// Returns the text of the key, without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

static QUOTED: Charset = Charset::printable_except(b"\"\\");
static BARE: Charset = Charset::printable_except(b" \",;");

impl FromStr for IdempotencyKey {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        Self::parse(text.as_bytes())
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdempotencyKey(..)")
    }
}
