//! The rejections of repeated submissions.

use std::time::Duration;

use http::{HeaderValue, StatusCode};

use super::{Rejection, RejectionKind, rejected::Submission};
use crate::protocol::field::idempotency_key::IDEMPOTENCY_KEY;

impl Rejection {
    pub(crate) fn submission_in_progress(expires_in: Duration) -> Self {
        let detail =
            "the same submission is still running: sign and send it again after a while, with the same idempotency key";
        Self::repeated(RejectionKind::SubmissionInProgress, detail, Submission::expiring(expires_in))
    }

    pub(crate) fn submission_outcome_unknown(expires_in: Duration) -> Self {
        let detail = "the same submission ended without a known outcome, and may have been carried out: find out what became of \
                      it before you submit it under another idempotency key";
        Self::repeated(RejectionKind::SubmissionOutcomeUnknown, detail, Submission::expiring(expires_in))
    }

    pub(crate) fn duplicate_submission(
        expires_in: Duration,
        first_status: StatusCode,
        location: Option<&HeaderValue>,
    ) -> Self {
        let detail =
            "the same submission was answered before, with the status first_status, and that answer is not at hand";
        let submission = Submission {
            first_status: Some(first_status.as_u16()),
            location: location.and_then(|location| location.to_str().ok()).map(Into::into),
            ..Submission::expiring(expires_in)
        };
        Self::repeated(RejectionKind::DuplicateSubmission, detail, submission)
    }

    pub(crate) fn idempotency_key_reused() -> Self {
        let detail = "the key was used for another request. Usually the body was serialized again and differs in its bytes, or a \
                      multipart body has a new boundary: keep the bytes of the first request for its retries, and use a new key \
                      for another submission";
        Self::new(RejectionKind::IdempotencyKeyReused, detail).with_field(IDEMPOTENCY_KEY.as_str().into())
    }

    fn repeated(kind: RejectionKind, detail: &'static str, submission: Submission) -> Self {
        let mut rejection = Self::new(kind, detail);
        rejection.edit(|inner| inner.submission = Some(submission));
        rejection
    }
}

impl Submission {
    /// The seconds are rounded up: a client that waits for them does not come early.
    fn expiring(expires_in: Duration) -> Self {
        let seconds = expires_in.as_secs().saturating_add(u64::from(expires_in.subsec_nanos() > 0));
        Self { expires_in: Some(seconds), ..Self::default() }
    }
}
