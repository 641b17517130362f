//! The content of a signed request: everything that makes it another submission than the next one.

use http::{HeaderName, Method, header};
use sha2::{Digest, Sha256};

use crate::protocol::{
    canonical::string_to_sign::{CanonicalRequest, Root},
    encode::sink::Sink,
    field::idempotency_key::IDEMPOTENCY_KEY,
    scheme::contract::{Scheme, TokenLocation},
};

/// What a submission is, besides its caller: lines 2 and 4 of the string to sign, and a digest of the content.
#[derive(Clone, Debug)]
pub(crate) struct SignedContent {
    pub(crate) method: Method,
    pub(crate) path: Box<str>,
    pub(crate) fingerprint: [u8; 32],
}

impl CanonicalRequest<'_> {
    /// Returns the content, with the path in the form that was signed.
    pub(crate) fn content(&self, scheme: &Scheme, root: Root) -> SignedContent {
        let mut fingerprint = FingerprintSink(Sha256::new());
        let is_bearer = *scheme.token_location() == TokenLocation::Bearer;
        // A renewal changes the token, and a retry must not become another submission by it.
        let is_content = |name: &HeaderName| *name != IDEMPOTENCY_KEY && !(is_bearer && *name == header::AUTHORIZATION);
        self.write_content(&mut fingerprint, root, is_content);
        SignedContent {
            method: self.method().clone(),
            path: self.path(root).into(),
            fingerprint: fingerprint.0.finalize().into(),
        }
    }
}

struct FingerprintSink(Sha256);

impl Sink for FingerprintSink {
    fn put(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The content has no line with the key.
    fn put_key(&mut self) {}
}
