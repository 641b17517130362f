//! What became of a request, told once, in one place, to all who want to know.
//!
//! A `recorder` follows a request, notes its `facts`, and has its outcome told by the `observer`: to the closure of the service, as
//! an `event`, and as `metrics`.

mod event;
mod facts;
mod metrics;
mod observer;
mod recorder;

use std::time::Duration;

pub(super) use self::{
    observer::Observer,
    recorder::{BodyOutcomeRecorder, OutcomeRecorder},
};
use super::caller::Caller;
use crate::protocol::{AppId, Rejection, SignatureError};

/// What became of one request. [`Verifier::with_observer`](crate::Verifier::with_observer) tells it.
///
/// `Debug` shows no secret, token, nonce or signature.
#[derive(Debug)]
pub struct Outcome<'a> {
    decision: Decision<'a>,
    claimed_app_id: Option<&'a AppId>,
    skew: Option<i64>,
    duration: Duration,
    is_enforced: bool,
}

/// What was decided on a request, and on whose.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Decision<'a> {
    /// It was signed, fresh and unrepeated, and its body was the one that was signed.
    Verified(&'a Caller),
    /// It was not, or could not be checked.
    Rejected(&'a Rejection),
    /// It was not verified: a [bypass](crate::Verifier::with_insecure_bypass) covers it.
    Bypassed,
    /// All but its [streamed](crate::Verifier::with_streamed_bodies) body was verified, and of that the service did not
    /// read the end, because it did not want to or because the connection broke.
    BodyNotRead(&'a Caller),
    /// Nobody waited for the decision: the future was dropped, by a timeout or because the caller hung up; or a store
    /// panicked. Its nonce may have been spent.
    Cancelled,
}

impl<'a> Outcome<'a> {
    /// What was decided.
    #[must_use]
    pub fn decision(&self) -> Decision<'a> {
        self.decision
    }

    /// The decision in a word: a rejection's [code](crate::RejectionKind::code), or `verified`, `bypassed`,
    /// `body_not_read` or `cancelled`. There are few of them, and each is a good label.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self.decision {
            Decision::Verified(_) => "verified",
            Decision::Rejected(rejection) => rejection.kind().code(),
            Decision::Bypassed => "bypassed",
            Decision::BodyNotRead(_) => "body_not_read",
            Decision::Cancelled => "cancelled",
        }
    }

    /// Who it says it is from, if that is well-formed. **Nothing is proved unless there is a [`caller`](Self::caller)**:
    /// anybody can send any id, as many of them as they like. It is for logs, and must not become the label of a metric.
    #[must_use]
    pub fn claimed_app_id(&self) -> Option<&'a AppId> {
        self.claimed_app_id
    }

    /// Who signed, where that is proved.
    #[must_use]
    pub fn caller(&self) -> Option<&'a Caller> {
        match self.decision {
            Decision::Verified(caller) | Decision::BodyNotRead(caller) => Some(caller),
            _ => None,
        }
    }

    /// Why it was refused, if it was.
    #[must_use]
    pub fn rejection(&self) -> Option<&'a Rejection> {
        match self.decision {
            Decision::Rejected(rejection) => Some(rejection),
            _ => None,
        }
    }

    /// Why the signature is invalid, if the rejection is `invalid_signature`. The caller was not told.
    #[must_use]
    pub fn signature_error(&self) -> Option<SignatureError> {
        self.rejection()?.signature_error()
    }

    /// The request's timestamp minus the verifier's clock, in whole seconds, where the timestamp could be read: negative
    /// for a client whose clock is slow, or whose request took long. Unless there is a [`caller`](Self::caller), it is
    /// what somebody wrote.
    #[must_use]
    pub fn skew(&self) -> Option<i64> {
        self.skew
    }

    /// How long verifying took, waiting for the stores included, and for a body that is read whole. What a streamed body
    /// takes after the service was called is not counted.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// Whether a refusal keeps the request from the service. Behind a
    /// [`ReportOnlyLayer`](crate::danger::ReportOnlyLayer) it does not.
    #[must_use]
    pub fn is_enforced(&self) -> bool {
        self.is_enforced
    }
}
