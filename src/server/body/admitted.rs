//! A body that may go to the service.

use std::mem;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

use crate::server::body::{check::BodyError, observed::VerdictHook, streamed::BodyRefusal, unverified::UnverifiedBody};

/// A body that the verifier lets through to the service.
#[derive(Debug)]
pub struct AdmittedBody {
    body: Admitted,
    verdict: BodyVerdict,
}

#[derive(Debug)]
pub(in crate::server) enum Admitted {
    /// The bytes that were signed.
    Whole(Bytes),
    /// A body that ends without an error only if it is the signed one.
    Streamed(UnsyncBoxBody<Bytes, BodyError>),
    /// A body that is forwarded unchanged. Nothing is enforced.
    Unchecked(UnverifiedBody),
}

/// The verdict on a body that is checked while the service reads it.
#[derive(Debug, Default)]
pub(in crate::server) enum BodyVerdict {
    /// The body was checked before the service was called.
    #[default]
    Given,
    /// The body may still be rejected.
    Streamed(BodyRefusal),
    /// The hook gets the verdict.
    Observed(VerdictHook),
}

impl AdmittedBody {
    pub(in crate::server) fn whole(bytes: Bytes) -> Self {
        Self { body: Admitted::Whole(bytes), verdict: BodyVerdict::Given }
    }

    pub(in crate::server) fn streamed(body: UnsyncBoxBody<Bytes, BodyError>, refusal: BodyRefusal) -> Self {
        Self { body: Admitted::Streamed(body), verdict: BodyVerdict::Streamed(refusal) }
    }

    /// Makes the body of a request that bypasses verification, or whose verdict is only reported.
    pub(in crate::server) fn unchecked(body: UnverifiedBody) -> Self {
        Self { body: Admitted::Unchecked(body), verdict: BodyVerdict::Given }
    }

    pub(in crate::server) fn observed(body: UnverifiedBody, hook: VerdictHook) -> Self {
        Self { body: Admitted::Unchecked(body), verdict: BodyVerdict::Observed(hook) }
    }

    pub(in crate::server) fn get(&self) -> &Admitted {
        &self.body
    }

    pub(in crate::server) fn take_verdict(&mut self) -> BodyVerdict {
        mem::take(&mut self.verdict)
    }

    pub(in crate::server) fn into_inner(self) -> Admitted {
        self.body
    }
}
