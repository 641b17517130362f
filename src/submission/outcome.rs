//! Counts what became of submissions, with the feature `metrics`.

use crate::store::Finish;

/// What became of a request that is a submission, or of its lease.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    /// It ran and was carried out.
    Done,
    /// It ran, and its outcome is unknown.
    Unknown,
    /// It ran, and nothing was done.
    Released,
    /// It got the stored answer.
    Replayed,
    /// The same submission was running.
    InProgress,
    /// The same submission ended without a known outcome.
    RepeatedUnknown,
    /// The same submission was answered, and the answer is not stored.
    Duplicate,
    /// Its key was used for another request.
    Reused,
    /// Its lease was lost while it ran.
    Lost,
}

impl Outcome {
    pub(super) fn of(end: &Finish) -> Self {
        match end {
            Finish::Done(_) => Self::Done,
            Finish::Unknown => Self::Unknown,
            Finish::Release => Self::Released,
        }
    }

    /// A recorder that panics does not affect the request.
    pub(super) fn count(self) {
        crate::event::catch_panics(|| count(self));
    }
}

#[cfg(feature = "metrics")]
const SUBMISSIONS: &str = "countersign_submissions_total";

#[cfg(feature = "metrics")]
fn count(outcome: Outcome) {
    let outcome = match outcome {
        Outcome::Done => "done",
        Outcome::Unknown => "unknown",
        Outcome::Released => "released",
        Outcome::Replayed => "replayed",
        Outcome::InProgress => "in_progress",
        Outcome::RepeatedUnknown => "repeated_unknown",
        Outcome::Duplicate => "duplicate",
        Outcome::Reused => "key_reused",
        Outcome::Lost => "lost",
    };
    // Submissions are rare, so the recorder of the moment is asked each time.
    metrics::describe_counter!(SUBMISSIONS, metrics::Unit::Count, "Submissions by what became of them");
    metrics::counter!(SUBMISSIONS, "outcome" => outcome).increment(1);
}

#[cfg(not(feature = "metrics"))]
fn count(_: Outcome) {}
