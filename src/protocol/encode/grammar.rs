//! The grammar of header values, as HTTP defines it.

use crate::protocol::encode::charset::Charset;

/// Removes outer spaces and tabs.
pub(crate) fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// Whether the text is a token of RFC 9110, section 5.6.2.
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && TOKEN.has_all(text)
}

pub(crate) fn is_token_byte(byte: u8) -> bool {
    TOKEN.has(byte)
}

static TOKEN: Charset = Charset::alphanumeric_and(b"!#$%&'*+-.^_`|~");
