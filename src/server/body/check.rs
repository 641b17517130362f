//! What a body is held against: its length, its digest, or the parameters of a form; and why it is refused.

use std::{error::Error, fmt, mem, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body, SizeHint};
use http_body_util::LengthLimitError;

use crate::protocol::{BodyDigest, BodyHasher, BoxError, Rejection, RejectionKind};

/// How many bytes a body may have.
#[derive(Clone, Copy)]
pub(in crate::server) struct Length {
    /// Its Content-Length.
    pub(in crate::server) declared: Option<u64>,
    pub(in crate::server) limit: u64,
}

/// What the body has to be, so that it may reach the service.
#[derive(Clone)]
pub(in crate::server) struct BodyExpectation {
    pub(in crate::server) length: Length,
    pub(in crate::server) digest: Option<BodyDigest>,
    /// A form, as far as its parameters bind it.
    pub(in crate::server) form: Bytes,
}

impl Length {
    /// The lesser of what the head and the body say.
    pub(in crate::server) fn at_most(self, body: &impl Body) -> Self {
        let declared = [self.declared, body.size_hint().exact()].into_iter().flatten().min();
        Self { declared, ..self }
    }
}

impl BodyExpectation {
    /// A form that was stripped is shorter than it was declared. Of any other body hyper sees to it.
    pub(in crate::server) fn correct_length(&self, headers: &mut HeaderMap, length: u64) {
        if self.length.declared.is_some() {
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
    }
}

/// The check of a body, as far as it has come.
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

    /// Checks the length as well: whoever forwards as many bytes as were declared is done then, whatever follows.
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

    /// Whether as many bytes are there as were declared: whoever forwards that many asks for no more.
    pub(in crate::server) fn is_full(&self) -> bool {
        self.length.declared == Some(self.received)
    }

    /// After the last of it.
    pub(in crate::server) fn finish(&mut self) -> Result<(), Rejection> {
        if self.length.declared.is_some_and(|declared| self.received < declared) {
            return Err(Rejection::malformed("body", "it broke off before its end"));
        }
        if mem::take(&mut self.hasher).finish() == self.digest { Ok(()) } else { Err(mismatch()) }
    }
}

/// The length of a body of which some bytes were read already.
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

/// A body that ends with an error.
pub(in crate::server) fn broken(error: impl Into<BoxError>) -> Rejection {
    let error = error.into();
    broken_by(&*error).with_source(error)
}

/// Somebody's limit above us, or a connection that broke.
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

/// A body ends before its end: one [that streams](crate::Verifier::with_streamed_bodies) is refused, and what has come of
/// it is not what was signed; or one that is not verified broke off.
///
/// Around an axum `Body` it is a source of the error. The caller gets the rejection's answer in place of the service's,
/// unless that has begun before.
#[derive(Clone, Debug)]
pub struct BodyError(Arc<Rejection>);

impl BodyError {
    pub(in crate::server) fn new(rejection: Rejection) -> Self {
        Self(Arc::new(rejection))
    }

    /// Why: it does not have the signed digest, is too large, or broke off.
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
        Some(&*self.0)
    }
}
