//! The error for a response without a valid signature.

use std::borrow::Cow;

use crate::protocol::rejection::BoxError;

/// The error for a response that is not proved to be the service's response to the request.
///
/// It does not say what the service did. Anybody between the client and the service can cause it, so the outcome of the
/// request is unknown.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct ResponseError {
    kind: ResponseErrorKind,
    reason: Cow<'static, str>,
    source: Option<BoxError>,
}

/// The kind of a [`ResponseError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResponseErrorKind {
    /// The response has no signature. A verifier signs no refusal of a request before its nonce is claimed.
    Unsigned,
    /// A header of the signature, or the content type, is malformed, missing or there twice.
    Malformed,
    /// The response was signed more than 300 seconds before or after the time of the client's clock.
    StaleTimestamp,
    /// The body is not the one that was signed.
    BodyMismatch,
    /// The signature does not match: the status, a signed header or the time was changed, the response answers another
    /// request, or another key signed it.
    InvalidSignature,
    /// The body is larger than the client's limit.
    BodyTooLarge,
    /// The body could not be read to its end.
    BrokenBody,
}

impl ResponseError {
    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> ResponseErrorKind {
        self.kind
    }

    pub(crate) fn new(kind: ResponseErrorKind, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, reason: reason.into(), source: None }
    }

    /// The error if the client's clock has no Unix time.
    #[cfg(feature = "client")]
    pub(crate) fn without_clock(source: impl Into<BoxError>) -> Self {
        let reason = "the time of the response cannot be compared with this clock: set the system's clock";
        Self::new(ResponseErrorKind::StaleTimestamp, reason).with_source(source)
    }

    #[cfg(feature = "client")]
    pub(crate) fn with_source(self, source: impl Into<BoxError>) -> Self {
        Self { source: Some(source.into()), ..self }
    }
}
