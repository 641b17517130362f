//! "Signed responses" of PROTOCOL.md: the string to sign of a response.

use super::{content_type, string::sha256, trim};

/// The response as it was sent, and the request that it answers.
#[derive(Debug)]
pub struct SignedResponse<'a> {
    pub status: u16,
    pub headers: &'a [(String, Vec<u8>)],
    /// Empty for HEAD, 204, 304 and 101.
    pub body: &'a [u8],
    /// The configured headers, in any order.
    pub further: &'a [&'a str],
    pub app: &'a str,
    pub request_sign: &'a str,
    pub timestamp: &'a str,
}

impl SignedResponse<'_> {
    /// The string to sign, or `None` for a response that cannot be signed. `key_line` is the app's key, or `session`.
    pub fn string(&self, key_line: &str) -> Option<Vec<u8>> {
        let content_type = match &*self.values("content-type") {
            [] => Vec::new(),
            [value] => content_type::line(value)?,
            _ => return None,
        };
        let mut further = self.further.to_vec();
        further.sort_unstable();
        let mut lines = vec![b"CS1-RESPONSE".to_vec(), format!("{:03}", self.status).into_bytes(), content_type];
        lines.extend(["content-encoding", "content-range"].map(|name| self.line(name)));
        lines.push(sha256(self.body).into_bytes());
        lines.extend(further.into_iter().map(|name| self.line(name)));
        lines.extend([self.app, self.request_sign, key_line, self.timestamp].map(|line| line.as_bytes().to_vec()));
        Some(lines.join(&b'\n'))
    }

    fn values(&self, name: &str) -> Vec<&[u8]> {
        let values = self.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        values.map(|(_, value)| trim(value)).collect()
    }

    fn line(&self, name: &str) -> Vec<u8> {
        match self.values(name) {
            values if values.is_empty() => name.as_bytes().to_vec(),
            values => [name.as_bytes(), b":", &values.join(&b", "[..])].concat(),
        }
    }
}
