//! Request targets of arbitrary bytes.

use http::Uri;

/// A URI of this origin, which may be empty, with a path and a query. Returns `None` if it is invalid.
pub fn target(origin: &str, path: &[u8], query: Option<&[u8]>) -> Option<Uri> {
    let mut target = [origin.as_bytes(), b"/", &*tame(path)].concat();
    if let Some(query) = query {
        target.push(b'?');
        target.extend(tame(query));
    }
    Uri::try_from(target).ok()
}

/// Replaces bytes that a target cannot contain with bytes that have a meaning in it.
pub fn tame(text: &[u8]) -> Vec<u8> {
    let tame = |byte: &u8| match byte {
        b'!' | b'$'..=b'>' | b'@'..=b'~' if !b"\"<>\\^`{|}".contains(byte) => *byte,
        0x80.. => *byte,
        _ => b"&=%+/;a1"[usize::from(byte % 8)],
    };
    text.iter().map(tame).collect()
}
