//! Percent-encoding: read as a form's, written as the string to sign has it.

use std::borrow::Cow;

use crate::protocol::encode::charset::Charset;

/// Decodes as a form does: `+` is a space, `%XX` a byte. A wrong escape stays as it is, so check it first.
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

/// The decoded text, copied only if it had to be decoded.
pub(crate) fn decoded(raw: &[u8]) -> Cow<'_, [u8]> {
    match raw.iter().any(|b| matches!(b, b'%' | b'+')) {
        true => decode(raw).collect(),
        false => raw.into(),
    }
}

/// Every byte but the unreserved as `%XX`, uppercase.
pub(crate) fn encoded(bytes: impl Iterator<Item = u8>) -> impl Iterator<Item = u8> {
    bytes.flat_map(|byte| {
        let (encoded, len) = encode(byte);
        encoded.into_iter().take(len)
    })
}

/// A byte as it stands in the string to sign, and how many of the three bytes that takes.
pub(crate) fn encode(byte: u8) -> ([u8; 3], usize) {
    if UNRESERVED.has(byte) { ([byte, 0, 0], 1) } else { (escape(byte), 3) }
}

/// A byte as `%XX`, uppercase.
pub(crate) fn escape(byte: u8) -> [u8; 3] {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    [b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

/// RFC 3986, section 2.3.
pub(crate) static UNRESERVED: Charset = Charset::alphanumeric_and(b"-._~");

/// The byte that two hex digits of either case stand for.
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
