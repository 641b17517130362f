//! The signed form of the content type: lowercase `type/subtype`, and the boundary of a multipart type.

use std::borrow::Cow;

use crate::protocol::{
    encode::{
        charset::Charset,
        grammar::{is_token, is_token_byte, trim},
        sink::Sink,
    },
    rejection::Rejection,
    scheme::headers::{HeaderIndex, KnownHeader},
};

/// Line 7 of the string to sign.
#[derive(Debug, Default)]
pub(crate) struct ContentType<'a> {
    /// In lowercase. Empty if the header is absent.
    essence: Cow<'a, str>,
    /// The boundary of a `multipart/*` type, without quotes.
    boundary: Option<&'a [u8]>,
    encoded: bool,
}

impl<'a> ContentType<'a> {
    pub(crate) fn read(headers: &HeaderIndex<'a>) -> Result<Self, Rejection> {
        let malformed = |problem: &str| Rejection::malformed("content-type", problem);
        let Some(value) = headers.single(KnownHeader::ContentType)? else {
            return Ok(Self::default());
        };
        let (essence, parameters) = split(value).ok_or_else(|| malformed("expected one type/subtype"))?;
        let boundary = if essence.starts_with("multipart/") {
            Some(boundary(parameters).ok_or_else(|| malformed("expected a multipart type with exactly one boundary"))?)
        } else {
            None
        };
        Ok(Self { essence, boundary, encoded: headers.has(KnownHeader::ContentEncoding) })
    }

    /// Whether the body is a form, whose parameters are signed. It requires exactly this type, and no Content-Encoding.
    pub(crate) fn is_form(&self) -> bool {
        self.essence == "application/x-www-form-urlencoded" && !self.encoded
    }

    pub(crate) fn write(&self, out: &mut impl Sink) {
        out.put(self.essence.as_bytes());
        if let Some(boundary) = self.boundary {
            out.put(b";boundary=");
            out.put(boundary);
        }
    }
}

/// Splits the value into the lowercase `type/subtype` and the parameters with their first `;`. RFC 9110, section 8.3.1.
fn split(value: &[u8]) -> Option<(Cow<'_, str>, &[u8])> {
    let value = trim(value);
    let end = value.iter().position(|&b| b == b';').unwrap_or(value.len());
    let (essence, parameters) = value.split_at(end);
    let essence = std::str::from_utf8(essence.trim_ascii_end()).ok()?;
    let (kind, subtype) = essence.split_once('/')?;
    if !is_token(kind.as_bytes()) || !is_token(subtype.as_bytes()) {
        return None;
    }
    let essence = match essence.bytes().any(|b| b.is_ascii_uppercase()) {
        true => essence.to_ascii_lowercase().into(),
        false => essence.into(),
    };
    Some((essence, parameters))
}

/// Returns the only boundary among the parameters of a multipart type.
///
/// Any reader of the parts must find the same boundary as the signer. Ambiguous values therefore give `None`: a
/// parameter that does not match the grammar or has an escape, a second boundary, or an extended one (RFC 2231).
fn boundary(parameters: &[u8]) -> Option<&[u8]> {
    let mut found = None;
    let mut rest = parameters;
    loop {
        rest = match trim(rest) {
            [] => return found,
            [b';', after @ ..] => trim(after),
            _ => return None,
        };
        if rest.is_empty() {
            return found;
        }
        let (name, after) = rest.split_at(rest.iter().position(|&b| b == b'=')?);
        let (value, after) = parameter_value(&after[1..])?;
        if !is_token(name) {
            return None;
        }
        let name = name.to_ascii_lowercase();
        if name.starts_with(b"boundary*") {
            return None;
        }
        if name == b"boundary" && (!is_boundary(value) || found.replace(value).is_some()) {
            return None;
        }
        rest = after;
    }
}

/// Parses a token or a quoted string. Returns it without quotes, and the text after it.
///
/// A quoted string with an escape is rejected, because some readers resolve escapes and some do not.
fn parameter_value(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (value, after) = match text {
        [b'"', quoted @ ..] => {
            let end = quoted.iter().position(|&b| b == b'"')?;
            (&quoted[..end], &quoted[end + 1..])
        }
        _ => text.split_at(text.iter().position(|&b| !is_token_byte(b)).unwrap_or(text.len())),
    };
    let is_plain = !value.is_empty() && value.iter().all(|&b| matches!(b, b' '..=b'~') && b != b'\\');
    is_plain.then_some((value, after))
}

/// Whether the value is a boundary of RFC 2046, section 5.1.1.
fn is_boundary(value: &[u8]) -> bool {
    static ALLOWED: Charset = Charset::alphanumeric_and(b"'()+_,-./:=? ");
    value.len() <= 70 && ALLOWED.has_all(value) && value.last() != Some(&b' ')
}
