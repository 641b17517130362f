//! The key of a session, which is derived from a key of the app and a token.

use hmac::Mac;
use zeroize::Zeroizing;

use crate::protocol::{
    field::value::{AppId, Token},
    key::{app_key::Key, secret::Secret},
};

impl Key {
    /// Derives the key of a session: the lowercase hex digits of HMAC-SHA256(app key, `CS1-SESSION` LF audience LF app id
    /// LF token). The text itself is the key.
    pub(crate) fn session_key(&self, audience: &str, app_id: &AppId, token: &Token) -> Secret {
        let mut mac = self.state();
        for part in ["CS1-SESSION\n", audience, "\n", app_id.as_str(), "\n", token.expose()] {
            mac.update(part.as_bytes());
        }
        let digest = Zeroizing::new(<[u8; 32]>::from(mac.finalize().into_bytes()));
        Secret::of_hex(&digest)
    }
}
