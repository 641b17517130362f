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

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        self.to_response().map(Into::into)
    }
}
