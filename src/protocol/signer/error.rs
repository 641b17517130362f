//! The error for a request that could not be signed.

use std::borrow::Cow;

use crate::protocol::rejection::{BoxError, Rejection};

/// The error for a request that could not be signed.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct SignError {
    reason: Cow<'static, str>,
    source: Option<BoxError>,
}

impl SignError {
    pub(crate) fn new(reason: impl Into<Cow<'static, str>>, source: impl Into<BoxError>) -> Self {
        Self { reason: reason.into(), source: Some(source.into()) }
    }

    pub(crate) fn without_source(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: reason.into(), source: None }
    }

    /// Makes an error from a rejection. Verifiers and signers read requests with the same code, so a verifier would
    /// reject it.
    pub(crate) fn refused(rejection: Rejection) -> Self {
        Self::without_source(format!("no verifier would accept this request: {}", rejection.detail()))
    }

    pub(crate) fn unwritable(error: impl Into<BoxError>) -> Self {
        Self::new("the request cannot carry the fields", error)
    }
}
