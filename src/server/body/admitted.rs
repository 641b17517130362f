//! A body that may go to the service.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

use crate::server::body::{check::BodyError, observed::VerdictHook, streamed::BodyRefusal, unverified::UnverifiedBody};

/// A body that the verifier lets through to the service.
#[derive(Debug)]
pub struct AdmittedBody(Admitted);

#[derive(Debug)]
pub(in crate::server) enum Admitted {
    /// The bytes that were signed.
    Whole(Bytes),
    /// Ends well only if it is the body that was signed.
    Streamed(UnsyncBoxBody<Bytes, BodyError>, BodyRefusal),
    /// As it came: nothing of it is enforced. A report may wait for its end.
    Unchecked(UnverifiedBody, Option<VerdictHook>),
}

impl AdmittedBody {
    pub(in crate::server) fn whole(bytes: Bytes) -> Self {
        Self(Admitted::Whole(bytes))
    }

    pub(in crate::server) fn streamed(body: UnsyncBoxBody<Bytes, BodyError>, refusal: BodyRefusal) -> Self {
        Self(Admitted::Streamed(body, refusal))
    }

    /// For requests that bypass verification, or whose verdict is only reported.
    pub(in crate::server) fn unchecked(body: UnverifiedBody) -> Self {
        Self(Admitted::Unchecked(body, None))
    }

    pub(in crate::server) fn watched(body: UnverifiedBody, hook: VerdictHook) -> Self {
        Self(Admitted::Unchecked(body, Some(hook)))
    }

    pub(in crate::server) fn get(&self) -> &Admitted {
        &self.0
    }

    pub(in crate::server) fn into_inner(self) -> Admitted {
        self.0
    }
}
