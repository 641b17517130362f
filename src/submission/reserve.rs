//! Asks the store whether a submission may run.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{finish::ReleaseOnDrop, lease::Held, options::Options, read::Submitted};
use crate::{
    event,
    protocol::Rejection,
    store::{Entry, EntryState, Reserved},
};

/// The first and the longest pause between two looks at a submission that another request runs.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Reserves the submission. Returns its lease, or the entry of an earlier request.
///
/// If the submission is running, this waits for its end, up to [`with_wait`](super::SubmitOnceLayer::with_wait). It stops when
/// the future is dropped, for example because the client has gone.
///
/// # Errors
///
/// The store failed.
pub(super) async fn reserve(options: &Options, submitted: &Submitted) -> Result<Result<Held, Entry>, Rejection> {
    let held = Held::new(options, submitted.submission.at().clone()).map_err(Rejection::unavailable)?;
    let until = Instant::now() + options.wait;
    let mut pause = PAUSES.0;
    loop {
        let release = ReleaseOnDrop::new(&held, &options.running);
        let when_lost = options.when_lost();
        let reserved =
            options.store.reserve(&held.at, &held.lease, &submitted.fingerprint, submitted.ttl, when_lost).await;
        let reserved = reserved.map_err(|error| {
            event::catch_panics(|| event::submission_store_failed("reserve", &error));
            Rejection::unavailable(error)
        })?;
        release.disarm();
        match reserved {
            Reserved::Yes => return Ok(Ok(held)),
            Reserved::No(entry) if is_waited_for(&entry, submitted) && Instant::now() < until => {
                sleep(pause.min(until - Instant::now())).await;
                pause = (pause * 2).min(PAUSES.1);
            }
            Reserved::No(entry) => return Ok(Err(entry)),
        }
    }
}

fn is_waited_for(entry: &Entry, submitted: &Submitted) -> bool {
    entry.state == EntryState::InFlight && entry.fingerprint == submitted.fingerprint
}
