//! The content type as it is signed: lowercase `type/subtype`, and a multipart's boundary.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, header};

use super::{canonical::Sink, rejection::Rejection};

/// Line 7 of the string to sign.
#[derive(Debug, Default)]
pub(crate) struct ContentType<'a> {
    /// Lowercase; empty where the header is absent.
    essence: Cow<'a, str>,
    /// Of `multipart/*`, unquoted.
    boundary: Option<Cow<'a, [u8]>>,
    encoded: bool,
}

impl<'a> ContentType<'a> {
    pub(crate) fn read(headers: &'a HeaderMap) -> Result<Self, Rejection> {
        let malformed = |problem: &str| Rejection::malformed("content-type", problem);
        let mut values = headers.get_all(header::CONTENT_TYPE).iter();
        let Some(value) = values.next() else {
            return Ok(Self::default());
        };
        if values.next().is_some() {
            return Err(malformed("it is there twice"));
        }
        let (essence, parameters) = split(value).ok_or_else(|| malformed("expected one type/subtype"))?;
        let boundary = if essence.starts_with("multipart/") {
            Some(boundary(parameters).ok_or_else(|| malformed("expected a multipart type with exactly one boundary"))?)
        } else {
            None
        };
        Ok(Self { essence, boundary, encoded: headers.contains_key(header::CONTENT_ENCODING) })
    }

    /// Whether the body is a form, whose parameters are signed: exactly this type, and no Content-Encoding.
    pub(crate) fn is_form(&self) -> bool {
        self.essence == "application/x-www-form-urlencoded" && !self.encoded
    }

    pub(crate) fn write(&self, out: &mut impl Sink) {
        out.put(self.essence.as_bytes());
        if let Some(boundary) = &self.boundary {
            out.put(b";boundary=");
            out.put(boundary);
        }
    }
}

/// The lowercase `type/subtype`, and the parameters with their first `;`. RFC 9110, section 8.3.1.
fn split(value: &HeaderValue) -> Option<(Cow<'_, str>, &[u8])> {
    let value = trim(value.as_bytes());
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

/// The one boundary among a multipart type's parameters.
///
/// Whoever reads the parts must find the same boundary as the signer did, so whatever could be read in two ways is
/// `None`: a parameter against the grammar, a second boundary, an extended one (RFC 2231).
fn boundary(parameters: &[u8]) -> Option<Cow<'_, [u8]>> {
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
        if name.starts_with(b"boundary*") || (name == b"boundary" && (found.is_some() || value.is_empty())) {
            return None;
        }
        if name == b"boundary" {
            found = Some(value);
        }
        rest = after;
    }
}

/// A token or a quoted string, unquoted, and what follows it.
fn parameter_value(text: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let [b'"', quoted @ ..] = text else {
        let end = text.iter().position(|&b| !is_token_byte(b)).unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].into(), &text[end..]));
    };
    let mut value = Vec::new();
    let mut rest = quoted;
    loop {
        match rest {
            [b'"', after @ ..] => return Some((value.into(), after)),
            [b'\\', byte, after @ ..] | [byte, after @ ..] => {
                value.push(*byte);
                rest = after;
            }
            [] => return None,
        }
    }
}

/// Without outer spaces and tabs.
pub(crate) fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&b| is_token_byte(b))
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
