//! The key of a session, which is derived from an app's key and a token.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::protocol::{
    field::value::{AppId, Token},
    key::{
        app_key::{Key, prepared},
        secret::Secret,
    },
};

/// The word on the key line of what a session key signs.
pub(crate) const SESSION: &[u8] = b"session";

impl Key {
    /// Derives the key with which a session signs.
    pub(crate) fn session_secret(&self, audience: &str, app_id: &AppId, token: &Token) -> Secret {
        Secret::of_valid_bytes(self.session_digits(audience, app_id, token).to_vec())
    }

    /// Derives the HMAC state of the key with which a session signs.
    pub(crate) fn session_state(&self, audience: &str, app_id: &AppId, token: &Token) -> Hmac<Sha256> {
        prepared(&*self.session_digits(audience, app_id, token))
    }

    /// Lowercase hex of HMAC-SHA256(app key, `CS1-SESSION` LF audience LF app id LF token).
    fn session_digits(&self, audience: &str, app_id: &AppId, token: &Token) -> Zeroizing<[u8; 64]> {
        let mut mac = self.state();
        mac.update(b"CS1-SESSION");
        for line in [audience, app_id.as_str(), token.expose()] {
            mac.update(b"\n");
            mac.update(line.as_bytes());
        }
        let bytes: [u8; 32] = mac.finalize().into_bytes().into();
        let mut digits = Zeroizing::new([0; 64]);
        // The buffer has two digits for each byte.
        let _ = hex::encode_to_slice(bytes, &mut *digits);
        digits
    }
}
