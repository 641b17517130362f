//! The text of a grant: `cs1g_`, the tag of the owner, `_`, and 32 random bytes.

use std::{fmt, str::FromStr};

use arrayvec::ArrayString;

#[cfg(feature = "tokens")]
use super::OwnerTag;
use super::form::{RANDOM, TAG, read_tag};
use crate::protocol::{
    encode::charset::Charset,
    field::{error::FieldError, value::inline},
};

const PREFIX: &str = "cs1g_";
const LENGTH: usize = PREFIX.len() + TAG + 1 + RANDOM;

/// The text of a grant: `cs1g_`, 22 characters, `_` and 43 characters of base64url. `Debug` does not show it.
///
/// A share link with a grant works only while the service keeps a record of the grant, so the service can end the link
/// before it expires. `Tokens::grant` (feature `tokens`) makes a grant. A grant is never accepted as a token.
///
/// ```
/// # use countersign::GrantToken;
/// let text = "cs1g__ZsmG9nQdoMiZp_CiPbFPg_QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8";
/// let grant: GrantToken = text.parse()?;
/// assert_eq!(grant.expose(), text);
/// assert_eq!(format!("{grant:?}"), "GrantToken(..)");
/// assert!(text.replace("cs1g_", "cs1_").parse::<GrantToken>().is_err());
/// # Ok::<(), countersign::FieldError>(())
/// ```
#[derive(Clone)]
pub struct GrantToken {
    text: ArrayString<LENGTH>,
    #[cfg(feature = "tokens")]
    owner: OwnerTag,
}

impl GrantToken {
    const EXPECTED: &str = "cs1g_, 22 of A-Z a-z 0-9 - _, then _ and 43 of A-Z a-z 0-9 - _";

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, FieldError> {
        static ALLOWED: Charset = Charset::alphanumeric_and(b"-_");
        let text = inline(bytes, LENGTH, &ALLOWED, "grant", Self::EXPECTED)?;
        let other_form = || FieldError::other("grant", Self::EXPECTED, "another form");
        #[cfg_attr(not(feature = "tokens"), expect(unused_variables, reason = "only stores need the tag"))]
        let tag = read_tag(&text, PREFIX).ok_or_else(other_form)?;
        Ok(Self {
            text,
            #[cfg(feature = "tokens")]
            owner: OwnerTag::from_bytes(tag),
        })
    }

    /// Makes the text of a new grant.
    #[cfg(feature = "tokens")]
    pub(crate) fn issued(owner: &OwnerTag, random: &[u8; 32]) -> Result<Self, FieldError> {
        Self::parse(super::form::write(PREFIX, owner.as_bytes(), random).as_bytes())
    }

    /// The tag of the owner.
    #[cfg(feature = "tokens")]
    pub(crate) fn owner(&self) -> &OwnerTag {
        &self.owner
    }

    /// Returns the text of the grant. It is part of a link. Do not log it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl FromStr for GrantToken {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        Self::parse(text.as_bytes())
    }
}

impl fmt::Debug for GrantToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GrantToken(..)")
    }
}
