//! Tells the store how a submission ended, also if the store fails at first.

use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep, timeout};

use super::{
    lease::{Held, LONGEST, RETRY},
    options::Options,
    running::Running,
};
use crate::{
    event,
    store::{Finish, StoreError, StoredAnswer},
};

/// The longest wait for one answer of the store. A store that keeps its contract answers earlier.
const PATIENCE: Duration = Duration::from_secs(5);

/// The attempts to release a reservation that the store did not confirm, and the pauses before them, in seconds. There are few,
/// because an outage makes one of them for each request.
const RELEASES: [u64; 4] = [0, 1, 5, 25];

/// The end of a run.
pub(super) struct Finishing<'a> {
    held: &'a Held,
    end: Finish,
    /// When the run started.
    started: Instant,
}

impl<'a> Finishing<'a> {
    pub(super) fn new(held: &'a Held, end: Finish, started: Instant) -> Self {
        Self { held, end, started }
    }

    /// Makes the first attempt. Returns whether the store knows the end now.
    pub(super) async fn first(&self) -> bool {
        match self.attempt(&self.end).await {
            Ok(true) => true,
            Ok(false) => {
                event::catch_panics(|| {
                    event::submission_lost("it ended after its lease, and another request had its place")
                });
                true
            }
            Err(_) => false,
        }
    }

    /// Tries again while the lease is renewed. After the first of these attempts, the answer's body is left out: a store that is
    /// full of bodies has room for a status.
    pub(super) async fn again(self) {
        let until = (self.started + LONGEST).max(Instant::now() + self.held.lease.lasts);
        let mut end = self.end.clone();
        while Instant::now() < until {
            sleep(RETRY).await;
            // `false` here can also mean that an earlier attempt arrived and its confirmation did not.
            if self.attempt(&end).await.is_ok() {
                return;
            }
            end = without_body(&self.end);
        }
    }

    async fn attempt(&self, end: &Finish) -> Result<bool, StoreError> {
        let answer = timeout(PATIENCE, self.held.finish(end)).await;
        answer.unwrap_or_else(|_| Err(StoreError::new("no answer in five seconds"))).inspect_err(|error| {
            event::catch_panics(|| event::submission_store_failed("finish", error));
        })
    }
}

fn without_body(end: &Finish) -> Finish {
    match end {
        Finish::Done(answer) => Finish::Done(StoredAnswer::new(answer.status(), answer.location().cloned())),
        end => end.clone(),
    }
}

/// Releases a reservation when it is dropped, unless it was confirmed: the store may have it, and its answer was lost.
pub(super) struct ReleaseOnDrop<'a>(Option<(&'a Held, &'a Running)>);

impl<'a> ReleaseOnDrop<'a> {
    pub(super) fn new(held: &'a Held, running: &'a Running) -> Self {
        Self(Some((held, running)))
    }

    pub(super) fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for ReleaseOnDrop<'_> {
    fn drop(&mut self) {
        if let Some((held, running)) = self.0 {
            let held = held.clone();
            // Without a runtime, the lease ends by itself.
            let _ = running.spawn(async move {
                for pause in RELEASES {
                    sleep(Duration::from_secs(pause)).await;
                    if let Ok(Ok(_)) = timeout(PATIENCE, held.finish(&Finish::Release)).await {
                        return;
                    }
                }
                event::catch_panics(|| event::submission_lost("its reservation failed and could not be released"));
            });
        }
    }
}

/// Ends a run as cancelled when it is dropped.
pub(super) struct CancelOnDrop<'a>(Option<(&'a Held, &'a Options, Finish)>);

impl<'a> CancelOnDrop<'a> {
    pub(super) fn new(held: &'a Held, options: &'a Options, end: Finish) -> Self {
        Self(Some((held, options, end)))
    }

    pub(super) fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if let Some((held, options, end)) = self.0.take() {
            let held = held.clone();
            let mut finish = Box::pin(async move {
                let _ = held.finish(&end).await;
            });
            // A store in memory answers at once, even if the runtime takes no tasks any more.
            if finish.as_mut().now_or_never().is_none() {
                let _ = options.running.spawn(finish);
            }
        }
    }
}
