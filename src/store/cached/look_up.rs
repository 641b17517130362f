//! Looks up apps that are not cached, and joins lookups that are in flight.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;
use tokio::{
    runtime::Handle,
    time::{Instant, timeout, timeout_at},
};

use super::{
    error::LookupError,
    keys::CachedKeys,
    lookup::{InFlightLookup, LookupGuard, Outcome},
    memory::{CacheLookup, Due, MAX_TTL, Start},
};
use crate::{protocol::AppId, store::KeyStore};

impl<K: KeyStore> CachedKeys<K> {
    /// Looks up an app. Ends within the deadline, even if lookups that it waits for do not.
    pub(super) async fn look_up(&self, app: &AppId, mut due: Due) -> Outcome {
        let deadline = Instant::now() + self.options.deadline.min(MAX_TTL);
        loop {
            if let Some(failure) = due.failure {
                let now = self.clock.monotonic();
                let is_backing_off = failure.is_backing_off(now);
                match due.stale {
                    // During an outage, return the stale keys at once. One lookup at a time tests whether the outage is
                    // over.
                    Some(keys) if failure.is_recent(now, self.options.deadline) => {
                        if !is_backing_off {
                            drop(self.run(app, due.is_known));
                        }
                        return Ok(Some(keys));
                    }
                    None if is_backing_off => return Err(failure.error),
                    _ => {}
                }
            }
            let mut lookup = self.run(app, due.is_known)?;
            let outcome = timeout_at(deadline, lookup.outcome()).await;
            let is_late = outcome.is_err();
            let is_void = !self.memory.epochs().is_current(lookup.epoch);
            let error = match outcome {
                Ok(Ok(answer)) if !is_void => return Ok(answer),
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(error),
                Err(_) => Some(LookupError::Deadline(self.options.deadline)),
            };
            match (self.get(app), error) {
                (CacheLookup::Fresh(answer), _) => return Ok(answer),
                (CacheLookup::Due(Due { stale: Some(keys), .. }), _) if !is_void => return Ok(Some(keys)),
                (CacheLookup::Due(_), Some(error)) if !is_void || is_late => return Err(error),
                // The app was invalidated during the lookup.
                (CacheLookup::Due(again), _) => due = again,
            }
        }
    }

    /// Runs the lookup in its own task, because the first caller may stop waiting before the others.
    fn run(&self, app: &AppId, is_known: bool) -> Result<InFlightLookup, LookupError> {
        let runtime = Handle::try_current().map_err(|_| LookupError::NoRuntime)?;
        let epoch = self.memory.epochs().of(app);
        let (lookup, guard) = self.in_flight.join(app, epoch, is_known)?;
        if let Some(guard) = guard {
            let cached = self.clone();
            runtime.spawn(async move {
                let outcome = timeout(cached.options.deadline, cached.find_out(&guard)).await;
                let outcome = match outcome {
                    Ok(outcome) => outcome,
                    Err(_) => cached.failed(&guard, LookupError::Deadline(cached.options.deadline)),
                };
                guard.complete(outcome);
            });
        }
        Ok(lookup)
    }

    async fn find_out(&self, guard: &LookupGuard) -> Outcome {
        let _turn = guard.acquire_permit().await;
        // Another lookup may have ended while this one waited.
        match self.get(guard.app()) {
            CacheLookup::Fresh(answer) => return Ok(answer),
            CacheLookup::Due(Due { failure: Some(failure), .. }) if failure.is_backing_off(self.clock.monotonic()) => {
                return Err(failure.error);
            }
            CacheLookup::Due(_) => {}
        }
        let start = Start { at: self.clock.monotonic(), epoch: guard.epoch() };
        let answer = AssertUnwindSafe(async { self.store.keys(guard.app()).await }).catch_unwind().await;
        match answer {
            Ok(Ok(answer)) => {
                self.memory.insert(guard.app(), start, answer.clone());
                Ok(answer)
            }
            Ok(Err(error)) => self.failed(guard, LookupError::Failed(Arc::new(error))),
            Err(_panic) => self.failed(guard, LookupError::Panicked),
        }
    }

    fn failed(&self, guard: &LookupGuard, error: LookupError) -> Outcome {
        let start = Start { at: self.clock.monotonic(), epoch: guard.epoch() };
        self.memory.insert_failure(guard.app(), start, error.clone());
        if let CacheLookup::Due(Due { stale: Some(_), .. }) = self.get(guard.app()) {
            self.warning.warn(start.at, &error);
        }
        Err(error)
    }

    fn get(&self, app: &AppId) -> CacheLookup {
        self.memory.get(app, self.clock.monotonic(), &self.options)
    }
}
