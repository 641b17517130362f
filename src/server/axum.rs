//! The [`Caller`] as an axum extractor, and a [`Rejection`] as an axum response.

use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use http::request::Parts;

use crate::{
    event,
    protocol::{Rejection, RejectionKind},
    server::caller::Caller,
};
#[cfg(feature = "tokens")]
use crate::{
    server::route::{Rule, session_of},
    token::{ApiSession, Session, UserSession},
};

/// Extracts the verified caller. If no verifying layer is around the route, the response is a 500.
///
/// A request that bypasses verification, or that is rejected behind a `ReportOnlyLayer`, gets a 500 too. Use
/// `Option<Caller>` for such routes.
impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Rejection> {
        parts.extensions.get().cloned().ok_or_else(|| {
            let detail = "the handler takes a Caller, but no VerifyLayer stands around its route, or one that let this \
                          request in unverified: a handler for both takes an Option<Caller>";
            let rejection = Rejection::new(RejectionKind::Misconfigured, detail);
            event::catch_panics(|| event::misconfigured(&rejection));
            rejection
        })
    }
}

/// Extracts the caller if the request is verified, for handlers that also serve other requests.
impl<S: Sync> OptionalFromRequestParts<S> for Caller {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(parts.extensions.get().cloned())
    }
}

/// Extracts the session of the token: 401 `missing_token` without one. It works behind a [`VerifyLayer`](crate::VerifyLayer)
/// that checks tokens, and behind a [`TokenLayer`](crate::server::TokenLayer).
#[cfg(feature = "tokens")]
impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Rejection> {
        session(parts, Rule::Token)
    }
}

/// Extracts the session if the request has one, for handlers that also serve other requests.
#[cfg(feature = "tokens")]
impl<S: Sync> OptionalFromRequestParts<S> for Session {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(session_of(&parts.extensions).cloned())
    }
}

/// Extracts the session of a user: 401 `missing_token` without a token, 403 `token_not_allowed` with an API token.
#[cfg(feature = "tokens")]
impl<S: Sync> FromRequestParts<S> for UserSession {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Rejection> {
        session(parts, Rule::UserToken).and_then(|session| Self::new(session).ok_or_else(unproved))
    }
}

/// Extracts the session of an API token: 401 `missing_token` without a token, 403 `token_not_allowed` with a token of a user.
#[cfg(feature = "tokens")]
impl<S: Sync> FromRequestParts<S> for ApiSession {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Rejection> {
        session(parts, Rule::ApiToken).and_then(|session| Self::new(session).ok_or_else(unproved))
    }
}

#[cfg(feature = "tokens")]
fn session(parts: &Parts, rule: Rule) -> Result<Session, Rejection> {
    let session = rule.check(&parts.extensions).and_then(|()| session_of(&parts.extensions).ok_or_else(unproved));
    session.cloned().inspect_err(|rejection| {
        if rejection.kind() == RejectionKind::Misconfigured {
            event::catch_panics(|| event::misconfigured(rejection));
        }
    })
}

/// The rejection for a request that meets the rule, and has no session all the same.
#[cfg(feature = "tokens")]
fn unproved() -> Rejection {
    Rejection::new(
        RejectionKind::Misconfigured,
        "the handler takes a session, but the request was let in unverified, or its token is of another system: a handler for \
         both takes an Option<Session>, and the user of a token of another system is at Caller::user",
    )
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        self.to_response().map(Into::into)
    }
}
