//! The destination of the string to sign, which is written in pieces.

/// A destination for the string to sign: a MAC, or text without the key.
pub(crate) trait Sink {
    fn put(&mut self, bytes: &[u8]);
    fn put_key(&mut self);

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
