//! The form that tokens and grants share: a prefix, the tag of the owner, `_`, and 32 random bytes, both in base64url without
//! padding.

use crate::protocol::encode::charset::Charset;

/// The length of the tag.
pub(super) const TAG: usize = 22;
/// The length of the random part.
pub(super) const RANDOM: usize = 43;

/// Reads the tag in a text with this prefix. Returns `None` if the text has another form.
pub(super) fn read_tag(text: &str, prefix: &str) -> Option<[u8; 16]> {
    static ALLOWED: Charset = Charset::alphanumeric_and(b"-_");
    // The parts are read by their places, because base64url contains `_` too.
    let rest = text.strip_prefix(prefix)?;
    let (tag, random) = (rest.get(..TAG)?, rest.get(TAG..)?.strip_prefix('_')?);
    if random.len() != RANDOM || !ALLOWED.has_all(random.as_bytes()) {
        return None;
    }
    decode(tag.as_bytes())
}

/// Writes a text of this form.
#[cfg(feature = "tokens")]
pub(super) fn write(prefix: &str, tag: &[u8; 16], random: &[u8; 32]) -> String {
    use base64ct::{Base64UrlUnpadded, Encoding};

    let (mut tag_buffer, mut random_buffer) = ([0; TAG], [0; RANDOM]);
    // The buffers have the length that base64url needs.
    let tag = Base64UrlUnpadded::encode(tag, &mut tag_buffer).unwrap_or_default();
    let random = Base64UrlUnpadded::encode(random, &mut random_buffer).unwrap_or_default();
    format!("{prefix}{tag}_{random}")
}

/// Decodes the base64url of a tag. A tag is no secret, so this need not take constant time, which `base64ct` does at several
/// times the cost.
fn decode(tag: &[u8]) -> Option<[u8; 16]> {
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
