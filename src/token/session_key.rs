//! The text of a session key.

use std::fmt;

use crate::protocol::Secret;

/// The key of a session: 64 lowercase hex digits. A browser or a phone signs with it instead of a key of the app.
///
/// The text is a secret. It is wiped from memory when it is dropped, and `Debug` does not show it. A client in Rust gives it to
/// [`Signer::for_session`](crate::Signer::for_session).
#[derive(Clone)]
pub struct SessionKey(Secret);

impl SessionKey {
    pub(super) fn new(key: Secret) -> Self {
        Self(key)
    }

    /// Returns the text, for the answer to a login. Send it over TLS only, and with `Cache-Control: no-store`.
    #[must_use]
    pub fn expose(&self) -> &str {
        // The key consists of hex digits.
        std::str::from_utf8(self.0.bytes()).unwrap_or_default()
    }
}

impl From<SessionKey> for Secret {
    fn from(key: SessionKey) -> Self {
        key.0
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(..)")
    }
}
