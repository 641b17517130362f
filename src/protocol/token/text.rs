//! The text of tokens that this crate issues: `cs1_`, the tag of the owner, `_`, and 32 random bytes.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use hmac::Mac;
use sha2::{Digest, Sha256};

use crate::protocol::{encode::charset::Charset, field::value::Token, key::app_key::prepared, token::tag::OwnerTag};

/// A reference to a token in a store: the tag of its owner, and the SHA-256 of its text. A store never gets the text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenRef {
    owner: OwnerTag,
    digest: [u8; 32],
}

/// The random bytes from which the successor of a token is made. They are a secret.
#[derive(Clone, Copy)]
pub struct RenewalSeed([u8; 32]);

const PREFIX: &str = "cs1_";
/// The length of the tag, in base64url without padding.
const TAG: usize = 22;
/// The length of the random part.
const RANDOM: usize = 43;

impl TokenRef {
    /// Reads the text of a token. Returns `None` if this crate cannot have issued it.
    #[must_use]
    pub fn of(token: &Token) -> Option<Self> {
        OwnerTag::of_token(token).map(|owner| Self { owner, digest: Sha256::digest(token.expose()).into() })
    }

    /// Makes a reference for the tests of stores.
    #[must_use]
    pub fn new(owner: OwnerTag, digest: [u8; 32]) -> Self {
        Self { owner, digest }
    }

    /// The tag of the owner.
    #[must_use]
    pub fn owner(&self) -> &OwnerTag {
        &self.owner
    }

    /// The SHA-256 of the token's text.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

impl OwnerTag {
    /// Reads the tag in the text of a token. Returns `None` if this crate cannot have issued the token.
    pub(crate) fn of_token(token: &Token) -> Option<Self> {
        static ALLOWED: Charset = Charset::alphanumeric_and(b"-_");
        // The parts are read by their places, because base64url contains `_` too.
        let rest = token.expose().strip_prefix(PREFIX)?;
        let (tag, random) = (rest.get(..TAG)?, rest.get(TAG..)?.strip_prefix('_')?);
        if random.len() != RANDOM || !ALLOWED.has_all(random.as_bytes()) {
            return None;
        }
        decode_tag(tag.as_bytes()).map(Self::from_bytes)
    }
}

/// Decodes the base64url of a tag. A tag is no secret, so this need not take constant time, which `base64ct` does at several
/// times the cost.
fn decode_tag(tag: &[u8]) -> Option<[u8; 16]> {
    let (&last, first) = tag.split_last()?;
    let mut bits: u128 = 0;
    for &digit in first {
        bits = bits << 6 | u128::from(value(digit)?);
    }
    // 21 digits have 126 bits. The last one has 2, and its other bits are 0.
    let last = value(last).filter(|value| value & 0x0f == 0)?;
    Some((bits << 2 | u128::from(last >> 4)).to_be_bytes())
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    }
}

impl fmt::Debug for TokenRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenRef(..)")
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
        let (mut tag_buffer, mut random_buffer) = ([0; TAG], [0; RANDOM]);
        // The buffers have the length that base64url needs.
        let tag = Base64UrlUnpadded::encode(owner.as_bytes(), &mut tag_buffer).unwrap_or_default();
        let random = Base64UrlUnpadded::encode(random, &mut random_buffer).unwrap_or_default();
        Self::of_valid_text(format!("{PREFIX}{tag}_{random}"))
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
