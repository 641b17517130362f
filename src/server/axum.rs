//! axum: the [`Caller`] as an extractor, a [`Rejection`] as an answer.

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

/// A handler that takes a `Caller` is never called unverified: without a layer around its route the answer is a 500. So
/// it is where a request bypasses verification or is only reported: take an `Option<Caller>` there.
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

/// For handlers that serve verified callers and others alike.
impl<S: Sync> OptionalFromRequestParts<S> for Caller {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(parts.extensions.get().cloned())
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        self.to_response().map(Into::into)
    }
}
