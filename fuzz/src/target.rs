//! Request targets of arbitrary bytes.

use http::Uri;

/// A path and a query under this origin, which may be empty. `None` if there is no such target.
pub fn target(origin: &str, path: &[u8], query: Option<&[u8]>) -> Option<Uri> {
    let mut target = [origin.as_bytes(), b"/", &*tame(path)].concat();
    if let Some(query) = query {
        target.push(b'?');
        target.extend(tame(query));
    }
    Uri::try_from(target).ok()
}

/// Bytes that cannot stand in a target become some that matter there.
pub fn tame(text: &[u8]) -> Vec<u8> {
    let tame = |byte: &u8| match byte {
        b'!' | b'$'..=b'>' | b'@'..=b'~' if !b"\"<>\\^`{|}".contains(byte) => *byte,
        0x80.. => *byte,
        _ => b"&=%+/;a1"[usize::from(byte % 8)],
    };
    text.iter().map(tame).collect()
}
