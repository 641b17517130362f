//! A token that was just issued.

use std::fmt;

use http::HeaderValue;

use super::Session;
use crate::protocol::{KeyRing, Secret, Token, cookie_line};

/// A token that was issued or renewed, and its session.
pub struct Issued {
    token: Token,
    session: Session,
    now: u64,
}

impl Issued {
    pub(super) fn new(token: Token, session: Session, now: u64) -> Self {
        Self { token, session, now }
    }

    /// The token. Give it to the user: the store does not keep its text.
    #[must_use]
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The number of seconds until the token ends.
    #[must_use]
    pub fn expires_in(&self) -> u64 {
        self.session.expires_at().saturating_sub(self.now)
    }

    /// Derives the key with which a browser or a phone signs. It holds the key instead of a key of the app, and signs with
    /// [`Signer::for_session`](crate::Signer::for_session). The verifier must take
    /// [session keys](super::Tokens::with_session_keys).
    ///
    /// `ring` has the keys of the app that the token was issued to. The first of them that is active now is used, so a
    /// session ends when this key is retired. `audience` is that of the [scheme](crate::Scheme::with_audience). The text is
    /// 64 hex digits: the lowercase hex of HMAC-SHA256(app key, `CS1-SESSION` LF audience LF app id LF token).
    ///
    /// Returns `None` if no key is active.
    #[must_use]
    pub fn session_key(&self, ring: &KeyRing, audience: &str) -> Option<Secret> {
        let (_, key) = ring.active_at(self.now).next()?;
        Some(key.session_key(audience, self.session.app_id(), &self.token))
    }

    /// Returns the text of the [session key](Self::session_key), to give it to the browser or the phone with the token. The
    /// text is a secret.
    #[must_use]
    pub fn session_key_text(&self, ring: &KeyRing, audience: &str) -> Option<String> {
        let key = self.session_key(ring, audience)?;
        String::from_utf8(key.bytes().to_vec()).ok()
    }

    /// Makes the `Set-Cookie` header for the token: `HttpOnly`, `Secure`, `SameSite=Strict`, for the whole site, until the
    /// token ends.
    ///
    /// # Errors
    ///
    /// The name does not begin with `__Host-`, or has a character that a cookie's name cannot have.
    pub fn cookie(&self, name: &str) -> Result<HeaderValue, CookieError> {
        let is_name = name
            .strip_prefix("__Host-")
            .is_some_and(|rest| !rest.is_empty() && http::HeaderName::from_bytes(rest.as_bytes()).is_ok());
        let cookie = format!(
            "{name}={}; Path=/; Max-Age={}; Secure; HttpOnly; SameSite=Strict",
            self.token.expose(),
            self.expires_in()
        );
        let mut value = HeaderValue::try_from(cookie).ok().filter(|_| is_name).ok_or(CookieError)?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// The text that a page signs in the place of a token in a cookie.
    #[must_use]
    pub fn cookie_digest(&self) -> String {
        cookie_line(&self.token)
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("session", &self.session).finish_non_exhaustive()
    }
}

/// The error for the name of a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cookie's name: expected __Host- and letters, digits or signs of a cookie's name")]
pub struct CookieError;
