//! Percent-encoding: decodes forms and queries, and encodes text for the string to sign.

use std::borrow::Cow;

use crate::protocol::encode::charset::Charset;

/// Decodes form text: `+` becomes a space and `%XX` a byte. Invalid escapes are not changed, so check for them first.
pub(crate) fn decode(raw: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = raw;
    std::iter::from_fn(move || {
        let (byte, after) = match rest {
            [] => return None,
            [b'+', after @ ..] => (b' ', after),
            [b'%', high, low, after @ ..] => match of_digits(*high, *low) {
                Some(byte) => (byte, after),
                None => (b'%', &rest[1..]),
            },
            [byte, after @ ..] => (*byte, after),
        };
        rest = after;
        Some(byte)
    })
}

/// Returns the decoded text. Copies it only if it contains an escape or a `+`.
pub(crate) fn decoded(raw: &[u8]) -> Cow<'_, [u8]> {
    match raw.iter().any(|b| matches!(b, b'%' | b'+')) {
        true => decode(raw).collect(),
        false => raw.into(),
    }
}

/// Encodes every byte except the unreserved ones as `%XX`, in uppercase.
pub(crate) fn encoded(bytes: impl Iterator<Item = u8>) -> impl Iterator<Item = u8> {
    bytes.flat_map(|byte| {
        let (encoded, len) = encode(byte);
        encoded.into_iter().take(len)
    })
}

/// Encodes a byte for the string to sign. Returns three bytes and the number of them in use.
pub(crate) fn encode(byte: u8) -> ([u8; 3], usize) {
    if UNRESERVED.has(byte) { ([byte, 0, 0], 1) } else { (escape(byte), 3) }
}

/// Encodes a byte as `%XX`, in uppercase.
pub(crate) fn escape(byte: u8) -> [u8; 3] {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    [b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

/// The unreserved characters of RFC 3986, section 2.3.
pub(crate) static UNRESERVED: Charset = Charset::alphanumeric_and(b"-._~");

/// Returns the value of two hex digits of either case.
pub(crate) fn of_digits(high: u8, low: u8) -> Option<u8> {
    Some(hex_value(high)? << 4 | hex_value(low)?)
}

fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
