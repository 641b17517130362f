//! The rules, and how a request meets them.

use http::Extensions;

use crate::{
    protocol::{Rejection, RejectionKind, SignedBy, token::Owner},
    server::caller::Caller,
    token::Session,
};

/// What a route needs beyond the proof of its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Rule {
    /// Any token.
    Token,
    /// A token of a user.
    UserToken,
    /// A token of an app.
    ApiToken,
    /// A signature by a key of the app.
    AppKey,
}

/// What a verifying layer has left in a request.
enum Proof<'r> {
    Signature(&'r Caller),
    /// A token without a signature.
    Token(&'r Session),
    /// A layer that only reports has let the request in.
    None,
}

/// Returns the session of a request, behind a verifying layer or a [`TokenLayer`](super::TokenLayer).
#[cfg(feature = "axum")]
pub(in crate::server) fn session_of(extensions: &Extensions) -> Option<&Session> {
    extensions.get::<Caller>().map_or_else(|| extensions.get::<Session>(), Caller::session)
}

impl Rule {
    /// Checks a request. A request that a layer that only reports has let in without a proof meets every rule.
    ///
    /// # Errors
    ///
    /// The request does not meet the rule, or there is no verifying layer above.
    pub(in crate::server) fn check(self, extensions: &Extensions) -> Result<(), Rejection> {
        match (Proof::of(extensions)?, self) {
            (Proof::None, _) => Ok(()),
            (Proof::Signature(caller), Self::AppKey) => match (caller.signed_by(), caller.link()) {
                (SignedBy::AppKey, None) => Ok(()),
                _ => Err(Rejection::key_not_allowed()),
            },
            (Proof::Token(_), Self::AppKey) => Err(Rejection::key_not_allowed()),
            (Proof::Signature(caller), _) => self.check_token(caller),
            (Proof::Token(session), _) => self.check_kind(matches!(session.owner(), Owner::User(_))),
        }
    }

    fn check_token(self, caller: &Caller) -> Result<(), Rejection> {
        match (caller.is_token_checked(), caller.token()) {
            (true, _) => self.check_kind(caller.user().is_some()),
            (false, Some(_)) => Err(misconfigured(
                "the route needs a token, and its verifier checks none: give it Verifier::with_tokens or \
                 Verifier::with_token_check",
            )),
            (false, None) => Err(Rejection::missing_token().with_challenge(caller.challenge())),
        }
    }

    fn check_kind(self, is_user: bool) -> Result<(), Rejection> {
        match self {
            Self::UserToken if !is_user => {
                Err(Rejection::token_not_allowed("this route needs the token of a user, and this is an API token"))
            }
            Self::ApiToken if is_user => {
                Err(Rejection::token_not_allowed("this route needs an API token, and this is the token of a user"))
            }
            _ => Ok(()),
        }
    }
}

impl<'r> Proof<'r> {
    fn of(extensions: &'r Extensions) -> Result<Self, Rejection> {
        match (extensions.get(), extensions.get()) {
            (Some(caller), _) => Ok(Self::Signature(caller)),
            (None, Some(session)) => Ok(Self::Token(session)),
            // A layer that only reports inserts its verdict.
            (None, None) if extensions.get::<Rejection>().is_some() => Ok(Self::None),
            (None, None) => Err(misconfigured(
                "the route needs a token or a key, but no VerifyLayer or TokenLayer stands around it, or one that let this \
                 request in unverified",
            )),
        }
    }
}

fn misconfigured(detail: &'static str) -> Rejection {
    Rejection::new(RejectionKind::Misconfigured, detail)
}
