//! The destination of the string to sign, which is written in pieces.

use http::HeaderName;

/// A destination for the string to sign: a MAC, or text without the key.
pub(crate) trait Sink {
    /// Writes a piece. The end of a line is a piece of its own.
    fn put(&mut self, bytes: &[u8]);

    fn put_key(&mut self);

    /// Writes the content of the token's line.
    fn put_token(&mut self, line: &str) {
        self.put(line.as_bytes());
    }

    fn put_header_value(&mut self, _name: &HeaderName, value: &[u8]) {
        self.put(value);
    }

    fn line(&mut self, text: &str) {
        self.put(b"\n");
        self.put(text.as_bytes());
    }
}

/// Writes text. The key is replaced by a placeholder.
impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn put_key(&mut self) {
        self.extend_from_slice(b"{key}");
    }
}
