//! Header values as HTTP defines them.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{charset::Charset, rejection::Rejection};

/// The value of a header that may occur once.
pub(crate) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a [u8]>, Rejection> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    match values.next() {
        Some(_) => Err(Rejection::malformed(name.as_str().to_owned(), "it is there twice")),
        None => Ok(first.map(HeaderValue::as_bytes)),
    }
}

/// Without outer spaces and tabs.
pub(crate) fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// RFC 9110, section 5.6.2.
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && TOKEN.has_all(text)
}

pub(crate) fn is_token_byte(byte: u8) -> bool {
    TOKEN.has(byte)
}

static TOKEN: Charset = Charset::alphanumeric_and(b"!#$%&'*+-.^_`|~");
