//! The error for a request that could not be signed.

use std::borrow::Cow;

use crate::protocol::rejection::{BoxError, Rejection};

/// The error for a request that could not be signed. Such a request was not sent.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct SignError {
    kind: SignErrorKind,
    field: Option<String>,
    reason: Cow<'static, str>,
    source: Option<BoxError>,
}

/// The kind of a [`SignError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SignErrorKind {
    /// A part of the request is malformed, so that no verifier would accept it. [`SignError::field`] may name the part.
    Malformed,
    /// The URL cannot be signed or sent: it has no host or origin where one is needed, or the client would spell it
    /// otherwise.
    Url,
    /// The signer has the key of a session, and only a key of the app may sign this.
    Key,
    /// The body cannot be read, is too large to be buffered, or is streamed without a digest.
    Body,
    /// The system has no random bytes, or its clock is before 1970.
    System,
}

impl SignError {
    /// The kind of the error.
    #[must_use]
    pub fn kind(&self) -> SignErrorKind {
        self.kind
    }

    /// The malformed field or header as it is sent, for example `content-type`, if the error names one.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }

    pub(crate) fn new(kind: SignErrorKind, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, field: None, reason: reason.into(), source: None }
    }

    pub(crate) fn with_source(self, source: impl Into<BoxError>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// Makes an error from a rejection. Verifiers and signers read requests with the same code, so a verifier would
    /// reject it.
    pub(crate) fn refused(rejection: Rejection) -> Self {
        let reason = format!("no verifier would accept this request: {}", rejection.detail());
        Self { field: rejection.field().map(str::to_owned), ..Self::new(SignErrorKind::Malformed, reason) }
    }

    /// Makes an error from the rejection of a response's head.
    pub(crate) fn refused_response(rejection: Rejection) -> Self {
        let reason = format!("no client would accept this response: {}", rejection.detail());
        Self { field: rejection.field().map(str::to_owned), ..Self::new(SignErrorKind::Malformed, reason) }
    }

    pub(crate) fn unwritable(error: impl Into<BoxError>) -> Self {
        Self::new(SignErrorKind::Url, "the request cannot carry the fields").with_source(error)
    }
}
