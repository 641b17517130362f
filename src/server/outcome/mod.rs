//! The outcome of a request, reported once and in one place.
//!
//! A `recorder` follows a request and collects its `facts`. The `observer` reports the outcome to the service's
//! closure, as an `event`, and as `metrics`.

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

/// The outcome of one request. [`Verifier::with_observer`](crate::Verifier::with_observer) reports it.
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

/// The decision on a request.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Decision<'a> {
    /// The request was signed, fresh and not repeated, and its body was the signed one.
    Verified(&'a Caller),
    /// The request was rejected, or could not be checked.
    Rejected(&'a Rejection),
    /// The request was not verified, because a [bypass](crate::Verifier::with_insecure_bypass) covers it.
    Bypassed,
    /// The request was verified except for the end of its [streamed](crate::Verifier::with_streamed_bodies) body. The
    /// service did not read that end: it dropped the body, or the connection broke.
    BodyNotRead(&'a Caller),
    /// The future was dropped before the decision, by a timeout or because the caller disconnected, or a store
    /// panicked. The nonce may be used up.
    Cancelled,
}

impl<'a> Outcome<'a> {
    /// Returns the decision on the request.
    #[must_use]
    pub fn decision(&self) -> Decision<'a> {
        self.decision
    }

    /// Returns the decision as a code: a rejection's [code](crate::RejectionKind::code), or `verified`, `bypassed`,
    /// `body_not_read` or `cancelled`. There are only a few codes, so you can use them as a metric label.
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

    /// Returns the app id that the request claims, if it is well-formed. **It is not authenticated unless there is a
    /// [`caller`](Self::caller)**: anybody can send any id. Use it in logs, but never as a metric label.
    #[must_use]
    pub fn claimed_app_id(&self) -> Option<&'a AppId> {
        self.claimed_app_id
    }

    /// Returns the verified caller, or `None` if the request was rejected, bypassed or cancelled.
    #[must_use]
    pub fn caller(&self) -> Option<&'a Caller> {
        match self.decision {
            Decision::Verified(caller) | Decision::BodyNotRead(caller) => Some(caller),
            _ => None,
        }
    }

    /// Returns the rejection, if the request was rejected.
    #[must_use]
    pub fn rejection(&self) -> Option<&'a Rejection> {
        match self.decision {
            Decision::Rejected(rejection) => Some(rejection),
            _ => None,
        }
    }

    /// Returns the reason why the signature is invalid, if the rejection is `invalid_signature`. The response does not
    /// contain this reason.
    #[must_use]
    pub fn signature_error(&self) -> Option<SignatureError> {
        self.rejection()?.signature_error()
    }

    /// The string to sign that the verifier compared with, if the rejection is `invalid_signature`. It is an
    /// [`Explanation`](crate::Explanation): it has no secrets, but all parameters of the request. The caller gets it
    /// only [if the verifier explains](crate::Verifier::with_explanations).
    #[must_use]
    pub fn string_to_sign(&self) -> Option<&'a str> {
        self.rejection()?.string_to_sign_for_operators()
    }

    /// Returns the request's timestamp minus the verifier's clock, in whole seconds, if the timestamp could be read. It
    /// is negative if the client's clock is slow or the request took long to arrive. It is not authenticated unless
    /// there is a [`caller`](Self::caller).
    #[must_use]
    pub fn skew(&self) -> Option<i64> {
        self.skew
    }

    /// Returns the time that verification took, including store calls and the arrival of a buffered body. It does not
    /// include the time that a streamed body takes after the service is called.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// Returns whether a rejection keeps the request from the service. It is `false` behind a
    /// [`ReportOnlyLayer`](crate::danger::ReportOnlyLayer).
    #[must_use]
    pub fn is_enforced(&self) -> bool {
        self.is_enforced
    }
}
