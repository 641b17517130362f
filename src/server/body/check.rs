//! The checks of a body: its length, its digest, or the parameters of a form. Also the rejections for each.

use std::{error::Error, fmt, mem};

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body, SizeHint};
use http_body_util::LengthLimitError;

use crate::protocol::{BodyDigest, BodyHasher, BoxError, Rejection, RejectionKind};

/// The allowed length of a body.
#[derive(Clone, Copy)]
pub(in crate::server) struct Length {
    /// The body's Content-Length.
    pub(in crate::server) declared: Option<u64>,
    pub(in crate::server) limit: u64,
}

/// The requirements on a body before it may reach the service.
#[derive(Clone)]
pub(in crate::server) struct BodyExpectation {
    pub(in crate::server) length: Length,
    pub(in crate::server) digest: Option<BodyDigest>,
    /// The form with signed parameters only, for a form without a digest.
    pub(in crate::server) form: Bytes,
}

impl Length {
    /// Lowers the declared length to the smaller of the Content-Length and the body's exact size.
    pub(in crate::server) fn at_most(self, body: &impl Body) -> Self {
        let declared = [self.declared, body.size_hint().exact()].into_iter().flatten().min();
        Self { declared, ..self }
    }
}

impl BodyExpectation {
    /// Corrects the Content-Length of a form whose unsigned parameters were removed. For any other body hyper checks
    /// it.
    pub(in crate::server) fn correct_length(&self, headers: &mut HeaderMap, length: u64) {
        if self.length.declared.is_some() {
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
    }
}

/// The state of a check over the frames of a body.
pub(in crate::server) struct Check {
    hasher: BodyHasher,
    digest: BodyDigest,
    received: u64,
    length: Length,
}

impl Check {
    pub(in crate::server) fn new(digest: BodyDigest, length: Length) -> Self {
        Self { hasher: BodyHasher::new(), digest, received: 0, length }
    }

    /// Checks a frame, including the total length. A service that forwards the declared number of bytes stops reading
    /// there, so extra bytes must be rejected early.
    pub(in crate::server) fn take(&mut self, data: &[u8]) -> Result<(), Rejection> {
        self.received = self.received.saturating_add(data.len() as u64);
        if self.received > self.length.limit {
            return Err(too_large(self.length.limit));
        }
        if self.length.declared.is_some_and(|declared| self.received > declared) {
            return Err(Rejection::malformed("content-length", "the body has more bytes than it says"));
        }
        self.hasher.update(data);
        Ok(())
    }

    /// Whether the declared number of bytes has arrived. A service that forwards that many does not read on.
    pub(in crate::server) fn is_full(&self) -> bool {
        self.length.declared == Some(self.received)
    }

    /// Finishes the check after the last frame.
    pub(in crate::server) fn finish(&mut self) -> Result<(), Rejection> {
        if self.length.declared.is_some_and(|declared| self.received < declared) {
            return Err(Rejection::malformed("body", "it broke off before its end"));
        }
        if mem::take(&mut self.hasher).finish() == self.digest { Ok(()) } else { Err(mismatch()) }
    }
}

/// The size hint of a body of which `bytes` were already read.
pub(in crate::server) fn longer_by(bytes: usize, rest: SizeHint) -> SizeHint {
    let mut hint = SizeHint::new();
    hint.set_lower(rest.lower().saturating_add(bytes as u64));
    if let Some(upper) = rest.upper() {
        hint.set_upper(upper.saturating_add(bytes as u64));
    }
    hint
}

pub(in crate::server) fn mismatch() -> Rejection {
    Rejection::new(
        RejectionKind::BodyMismatch,
        "the body is not the one whose SHA-256 was signed: hash the bytes that are sent, after every encoding",
    )
}

pub(in crate::server) fn too_large(limit: u64) -> Rejection {
    Rejection::new(RejectionKind::BodyTooLarge, format!("the body has more than the {limit} bytes that are taken"))
}

/// Makes the rejection for a body that ends with an error.
pub(in crate::server) fn broken(error: impl Into<BoxError>) -> Rejection {
    let error = error.into();
    broken_by(&*error).with_source(error)
}

/// Makes the rejection for a body error: an outer layer's length limit, or a broken connection.
pub(in crate::server) fn broken_by(error: &(dyn Error + 'static)) -> Rejection {
    let mut cause = Some(error);
    while let Some(link) = cause {
        if link.is::<LengthLimitError>() {
            return Rejection::new(RejectionKind::BodyTooLarge, "the body has more bytes than are taken");
        }
        cause = link.source();
    }
    Rejection::malformed("body", "it broke off before its end")
}

/// A body that ended with an error before its end.
///
/// There are two causes. A [streamed](crate::Verifier::with_streamed_bodies) body was rejected, and the bytes that have
/// arrived may be forged. Or an unverified body ended early, for example because the connection broke. In an axum
/// `Body`, this error is a source of the body's error. If a streamed body is rejected before the response has begun,
/// the client gets the rejection's response instead of the service's.
#[derive(Clone, Debug)]
pub struct BodyError(Rejection);

impl BodyError {
    pub(in crate::server) fn new(rejection: Rejection) -> Self {
        Self(rejection)
    }

    /// Returns the reason: the body does not have the signed digest, is too large, or ended early.
    #[must_use]
    pub fn rejection(&self) -> &Rejection {
        &self.0
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request's body was refused before its end")
    }
}

impl Error for BodyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}
