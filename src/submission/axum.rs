//! The [`Submission`] as an axum extractor.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;

use super::Submission;
use crate::{
    event,
    protocol::{Rejection, RejectionKind},
};

/// Extracts the submission. If no [`SubmitOnceLayer`](super::SubmitOnceLayer) guards the request, the response is a 500. GET,
/// HEAD, OPTIONS and TRACE are not guarded, and neither is a request without a key behind
/// [`optional`](super::SubmitOnceLayer::optional). Use `Option<Submission>` for them.
impl<S: Sync> FromRequestParts<S> for Submission {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Rejection> {
        parts.extensions.get().cloned().ok_or_else(|| {
            let detail = "the handler takes a Submission, but no SubmitOnceLayer stands around its route, or one that did not \
                          guard this request: a handler for both takes an Option<Submission>";
            let rejection = Rejection::new(RejectionKind::Misconfigured, detail);
            event::catch_panics(|| event::misconfigured(&rejection));
            rejection
        })
    }
}

/// Extracts the submission if the request has one, for handlers that also serve other requests.
impl<S: Sync> OptionalFromRequestParts<S> for Submission {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(parts.extensions.get().cloned())
    }
}
