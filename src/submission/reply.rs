//! The response to a repeated submission.

use http::{HeaderMap, HeaderName, HeaderValue, Response};

use super::{outcome::Outcome, read::Submitted};
use crate::{
    protocol::Rejection,
    server::ResponseBody,
    store::{Entry, EntryState, StoredAnswer},
};

/// Returns the stored answer, or the rejection that says what became of the first request.
pub(super) fn reply<B>(entry: &Entry, submitted: &Submitted) -> Result<Response<ResponseBody<B>>, Rejection> {
    if entry.fingerprint != submitted.fingerprint {
        Outcome::Reused.count();
        return Err(Rejection::idempotency_key_reused());
    }
    match &entry.state {
        EntryState::InFlight => {
            Outcome::InProgress.count();
            Err(Rejection::submission_in_progress(entry.expires_in))
        }
        EntryState::Unknown => {
            Outcome::RepeatedUnknown.count();
            Err(Rejection::submission_outcome_unknown(entry.expires_in))
        }
        EntryState::Done(answer) => replay(answer, submitted).ok_or_else(|| {
            Outcome::Duplicate.count();
            Rejection::duplicate_submission(entry.expires_in, answer.status(), answer.location())
        }),
    }
}

fn replay<B>(answer: &StoredAnswer, submitted: &Submitted) -> Option<Response<ResponseBody<B>>> {
    let (headers, body) = answer.replay().filter(|_| submitted.is_replayable)?;
    Outcome::Replayed.count();
    let mut response = Response::new(ResponseBody::of_bytes(body.clone()));
    *response.status_mut() = answer.status();
    *response.headers_mut() = headers.clone();
    mark(response.headers_mut(), submitted, true);
    Some(response)
}

/// Tells the client that the route is guarded, and whether the answer is a stored one.
pub(super) fn mark(headers: &mut HeaderMap, submitted: &Submitted, is_replayed: bool) {
    const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
    match submitted.has_header {
        true => headers.insert(REPLAYED, HeaderValue::from_static(if is_replayed { "true" } else { "false" })),
        // The service may be a gateway whose upstream guards its routes too.
        false => headers.remove(REPLAYED),
    };
}
