//! Where the string to sign is written to, piece by piece.

/// What the string to sign is written to: a MAC, or text without the key.
pub(crate) trait Sink {
    fn put(&mut self, bytes: &[u8]);
    fn put_key(&mut self);

    fn line(&mut self, text: &str) {
        self.put(b"\n");
        self.put(text.as_bytes());
    }
}

/// Text never holds the key.
impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn put_key(&mut self) {
        self.extend_from_slice(b"{key}");
    }
}
