//! The lease of a run, and its renewal.

use std::{future::pending, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::{options::Options, outcome::Outcome};
use crate::{
    event,
    store::{Finish, Lease, StoreError, SubmissionRef, submission::contract::DynSubmissionStore},
};

/// The longest time that a lease is renewed, so that a handler that hangs does not hold a submission forever.
pub(super) const LONGEST: Duration = Duration::from_secs(15 * 60);

/// The pause after an attempt that failed.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// A lease that a store has, or may have, given to a request.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) at: SubmissionRef,
    pub(super) lease: Lease,
    store: Arc<dyn DynSubmissionStore>,
}

impl Held {
    /// Makes a lease with a random id.
    ///
    /// # Errors
    ///
    /// The system has no random bytes.
    pub(super) fn new(options: &Options, at: SubmissionRef) -> Result<Self, StoreError> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(StoreError::new)?;
        Ok(Self { at, lease: Lease { id, lasts: options.lease }, store: options.store.clone() })
    }

    /// Tells the store how the submission ended. Returns whether the lease still held it.
    pub(super) async fn finish(&self, end: &Finish) -> Result<bool, StoreError> {
        self.store.finish(&self.at, &self.lease, end).await
    }

    /// Renews the lease every third of its time, until it is lost or [`LONGEST`] has passed. Tries again each second if the store
    /// fails. Never returns.
    pub(super) async fn renew(&self) {
        let started = Instant::now();
        let interval = self.lease.lasts / 3;
        let mut pause = interval;
        loop {
            sleep(pause).await;
            if started.elapsed() > LONGEST {
                event::catch_panics(|| event::submission_lost("it ran longer than a lease is renewed"));
                break;
            }
            match self.store.renew(&self.at, &self.lease).await {
                Ok(true) => pause = interval,
                Ok(false) => {
                    event::catch_panics(|| event::submission_lost("its lease had ended before it was renewed"));
                    break;
                }
                Err(error) => {
                    event::catch_panics(|| event::submission_store_failed("renew", &error));
                    pause = interval.min(RETRY);
                }
            }
        }
        Outcome::Lost.count();
        pending().await
    }
}
