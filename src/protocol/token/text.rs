//! The text of tokens that this crate issues: `cs1_`, the tag of the owner, `_`, and 32 random bytes.

use std::fmt;

use hmac::Mac;

use super::{
    OwnerTag,
    form::{read_tag, write},
};
use crate::protocol::{field::value::Token, key::app_key::prepared};

/// The random bytes from which the successor of a token is made. They are a secret.
#[derive(Clone, Copy)]
pub struct RenewalSeed([u8; 32]);

const PREFIX: &str = "cs1_";

impl OwnerTag {
    /// Reads the tag in the text of a token. Returns `None` if this crate cannot have issued the token.
    pub(crate) fn of_token(token: &Token) -> Option<Self> {
        read_tag(token.expose(), PREFIX).map(Self::from_bytes)
    }
}

impl RenewalSeed {
    /// Makes a seed from random bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for stores.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for RenewalSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RenewalSeed(..)")
    }
}

impl Token {
    /// Makes the text of a new token.
    pub(crate) fn issued(owner: &OwnerTag, random: &[u8; 32]) -> Self {
        Self::of_valid_text(write(PREFIX, owner.as_bytes(), random))
    }

    /// Makes the successor of a token: it has the same owner, and its random part is HMAC-SHA256(seed, `CS1-RENEW` LF old
    /// token text).
    pub(crate) fn successor(&self, owner: &OwnerTag, seed: &RenewalSeed) -> Self {
        let mut mac = prepared(seed.as_bytes());
        mac.update(b"CS1-RENEW\n");
        mac.update(self.expose().as_bytes());
        Self::issued(owner, &mac.finalize().into_bytes().into())
    }
}
