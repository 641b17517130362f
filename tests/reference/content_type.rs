//! "Content type" of PROTOCOL.md: line 7.

use super::{string::is_one_of, trim};

/// Returns `None` for `malformed_field`.
pub fn line(value: &[u8]) -> Option<Vec<u8>> {
    let value = trim(value);
    let (essence, parameters) = match value.iter().position(|&b| b == b';') {
        Some(at) => (&value[..at], &value[at..]),
        None => (value, &b""[..]),
    };
    let essence = essence.trim_ascii_end().to_ascii_lowercase();
    let halves: Vec<&[u8]> = essence.split(|&b| b == b'/').collect();
    if halves.len() != 2 || !halves.iter().all(|half| is_token(half)) {
        return None;
    }
    if halves[0] != b"multipart" {
        return Some(essence);
    }
    Some([&*essence, b";boundary=", boundary(parameters)?].concat())
}

fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&b| is_one_of(b, "!#$%&'*+-.^_`|~"))
}

/// The only boundary of `; name=value; name="value"`. A trailing `;` is permitted.
fn boundary(parameters: &[u8]) -> Option<&[u8]> {
    let mut boundaries: Vec<&[u8]> = Vec::new();
    let mut rest = trim(parameters);
    while !rest.is_empty() {
        rest = trim(rest.strip_prefix(b";")?);
        if rest.is_empty() {
            break;
        }
        let equals = rest.iter().position(|&b| b == b'=')?;
        let name = rest[..equals].to_ascii_lowercase();
        rest = &rest[equals + 1..];
        let value = if let Some(quoted) = rest.strip_prefix(b"\"") {
            let end = quoted.iter().position(|&b| b == b'"')?;
            rest = &quoted[end + 1..];
            &quoted[..end]
        } else {
            let end = rest.iter().position(|b| !is_token(&[*b])).unwrap_or(rest.len());
            let value = &rest[..end];
            rest = &rest[end..];
            value
        };
        let is_plain = value.iter().all(|&b| (b == b' ' || b.is_ascii_graphic()) && b != b'\\');
        if !is_token(&name) || value.is_empty() || !is_plain || name.starts_with(b"boundary*") {
            return None;
        }
        if name == b"boundary" {
            boundaries.push(value);
        }
        rest = trim(rest);
    }
    let [boundary] = boundaries[..] else { return None };
    let is_right = boundary.len() <= 70
        && boundary.iter().all(|&b| is_one_of(b, "'()+_,-./:=? "))
        && boundary.last() != Some(&b' ');
    is_right.then_some(boundary)
}
