//! "The string to sign" of PROTOCOL.md, and its signature.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// The lines of the string to sign, except the first line and the key's.
#[derive(Debug)]
pub struct StringToSign<'a> {
    pub method: &'a str,
    pub audience: &'a str,
    pub path: &'a str,
    pub query: &'a [u8],
    pub form: &'a [u8],
    pub content_type: &'a [u8],
    pub digest: &'a [u8],
    pub headers: &'a [Vec<u8>],
    pub app: &'a [u8],
    pub token: &'a [u8],
    pub timestamp: &'a [u8],
    pub nonce: &'a [u8],
}

impl StringToSign<'_> {
    /// The value of `x-sign`.
    pub fn sign(&self, key: &str) -> String {
        self.sign_for("CS1-REQUEST", key)
    }

    /// The value of `sign` in a share link.
    pub fn sign_link(&self, key: &str) -> String {
        self.sign_for("CS1-PRESIGNED", key)
    }

    fn sign_for(&self, purpose: &str, key: &str) -> String {
        let mut lines: Vec<&[u8]> = vec![purpose.as_bytes(), self.method.as_bytes(), self.audience.as_bytes()];
        lines.extend([self.path.as_bytes(), self.query, self.form, self.content_type, self.digest]);
        lines.extend(self.headers.iter().map(|line| &**line));
        lines.extend([self.app, self.token, key.as_bytes(), self.timestamp, self.nonce]);
        hmac_sha256(key, &lines.join(&b'\n'))
    }
}

/// The HMAC-SHA256 in hex.
pub fn hmac_sha256(key: &str, text: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(text);
    hex::encode(mac.finalize().into_bytes())
}

/// The value of `x-content-sha256`.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Whether the byte is a letter, a digit, or one of these signs.
pub fn is_one_of(byte: u8, signs: &str) -> bool {
    byte.is_ascii_alphanumeric() || signs.as_bytes().contains(&byte)
}
