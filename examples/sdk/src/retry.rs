//! Which attempts are repeated, when, and until when.
//!
//! This is a plain loop and not `tower::retry`, whose policy clones the request before it is sent: a streamed file cannot
//! be cloned, while a closure opens it again. The loop also shows the deadline and the unknown outcomes in one place.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::Error;

/// The wait after the first attempt, before jitter. It doubles with each attempt.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const MAX_WAIT: Duration = Duration::from_secs(5);

/// Whether a call may be sent more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It has the same effect however often it is sent: a GET, a PUT, or a POST with an idempotency key.
    Safe,
    /// Each copy may have its own effect.
    Never,
}

/// Runs attempts until one succeeds, one fails for good, or the time is over.
///
/// An attempt signs its request, so each one has a fresh timestamp and nonce.
pub(crate) async fn run<T, F: Future<Output = Result<T, Error>>>(
    max_attempts: u32,
    deadline: Duration,
    repeat: Repeat,
    attempt: impl Fn() -> F,
) -> Result<T, Error> {
    let started = Instant::now();
    let left = || deadline.saturating_sub(started.elapsed());
    let (mut count, mut is_outcome_unknown) = (0, false);
    loop {
        count += 1;
        let error = match timeout(left(), attempt()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(elapsed) => Error::OutcomeUnknown(elapsed.into()),
        };
        let wait = error.retry_after().unwrap_or_default().saturating_add(backoff(count));
        let can_repeat = repeat == Repeat::Safe && error.is_transient() && count < max_attempts && wait < left();
        if !can_repeat {
            return Err(if is_outcome_unknown { error.after_unknown_outcome() } else { error });
        }
        is_outcome_unknown |= error.is_outcome_unknown();
        sleep(wait).await;
    }
}

/// The wait after this many attempts. Clients that failed together come back at different times, because up to half of it is
/// random.
fn backoff(attempts: u32) -> Duration {
    let longest = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(attempts.saturating_sub(1))).min(MAX_WAIT);
    longest.mul_f64(1.0 - fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests;
