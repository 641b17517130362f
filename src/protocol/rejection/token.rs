//! The rejections about tokens. A service makes them too, for example in an endpoint that issues tokens.

use std::borrow::Cow;

#[cfg(feature = "tokens")]
use super::rejected::Challenge;
use super::{Rejection, RejectionKind};

impl Rejection {
    /// Makes the rejection for a token that is not live, or that was issued to another app: 401. It is the same for all
    /// such tokens.
    ///
    /// ```
    /// # use countersign::{Rejection, RejectionKind};
    /// assert_eq!(Rejection::invalid_token().kind(), RejectionKind::InvalidToken);
    /// ```
    #[must_use]
    pub fn invalid_token() -> Self {
        let detail = "the token is unknown, has ended, or was issued to another app: get another one";
        Self::new(RejectionKind::InvalidToken, detail)
    }

    /// Makes the rejection for a request without a token, on a route that needs one: 401.
    #[must_use]
    pub fn missing_token() -> Self {
        Self::new(
            RejectionKind::MissingToken,
            "this route needs a token, and the request has none in the location that the service reads",
        )
    }

    /// Makes the rejection for a token of a kind that the route does not take: 403. `detail` is for people. It names the
    /// expected kind.
    #[must_use]
    pub fn token_not_allowed(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RejectionKind::TokenNotAllowed, detail)
    }

    /// Makes the rejection for a request that a session key signed, or for a share link, on a route that needs a request that a
    /// key of the app signed: 403.
    #[must_use]
    pub fn key_not_allowed() -> Self {
        let detail = "this route needs a request that a key of the app signed: the key of a session is not enough, and neither \
                      is a share link";
        Self::new(RejectionKind::KeyNotAllowed, detail)
    }

    /// Makes the rejection for a token that a limit on the number of sessions refuses: 429.
    #[must_use]
    pub fn too_many_sessions() -> Self {
        Self::new(RejectionKind::TooManySessions, "there are too many sessions: end one, or wait until one has ended")
    }

    /// Adds the reason why the token ended. It is for the app that the token was issued to.
    #[cfg(feature = "tokens")]
    pub(crate) fn with_reason(mut self, reason: Option<&'static str>) -> Self {
        self.edit(|inner| inner.reason = reason);
        self
    }

    /// Sets the challenges of a 401. Default: a signature.
    #[cfg(feature = "tokens")]
    pub(crate) fn with_challenge(mut self, challenge: Challenge) -> Self {
        self.edit(|inner| inner.challenge = challenge);
        self
    }
}
