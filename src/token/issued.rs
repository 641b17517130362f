//! A token that was just issued.

use std::fmt;

use http::HeaderValue;

use super::{Session, SessionKey};
use crate::protocol::{KeyRing, Token, cookie_line};

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

    /// The token. Send it to the client now, because the store does not keep its text.
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

    /// Derives the session key, with which a browser or a phone signs instead of a key of the app. A client in Rust gives it
    /// to [`Signer::for_session`](crate::Signer::for_session). The verifier must accept
    /// [session keys](super::Tokens::with_session_keys).
    ///
    /// `ring` contains the keys of the app that the token was issued to. The session key is derived from the first key that
    /// is active now, and is valid until this key is retired. `audience` is the audience of the
    /// [scheme](crate::Scheme::with_audience), empty by default. The session key is a text of 64 digits: the lowercase hex of
    /// HMAC-SHA256(app key, `CS1-SESSION` LF audience LF app id LF token).
    ///
    /// Returns `None` if no key is active.
    #[must_use]
    pub fn session_key(&self, ring: &KeyRing, audience: &str) -> Option<SessionKey> {
        let (_, key) = ring.active_at(self.now).next()?;
        Some(SessionKey::new(key.session_key(audience, self.session.app_id(), &self.token)))
    }

    /// Makes the value of a `Set-Cookie` header for the token: `Path=/`, `Max-Age` until the token ends, `Secure`, `HttpOnly`
    /// and `SameSite=Strict`.
    ///
    /// # Errors
    ///
    /// The name does not begin with `__Host-`, ends there, or contains a character that is not allowed in a cookie's name.
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

    /// The text that a page signs instead of the token, because it cannot read the cookie. It is `cookie:` and 64 hex
    /// digits, and it does not reveal the token.
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
