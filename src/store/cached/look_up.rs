//! The way of a request whose app must be looked up: alone, or along with others.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;
use tokio::{
    runtime::Handle,
    time::{Instant, timeout, timeout_at},
};

use super::{
    error::LookUpError,
    flight::{Flight, Outcome, Pilot},
    keys::CachedKeys,
    memory::{Due, FOREVER, Recalled, Start},
};
use crate::{protocol::AppId, store::KeyStore};

impl<K: KeyStore> CachedKeys<K> {
    /// Ends within the deadline, whatever becomes of the look-ups that it waits for.
    pub(super) async fn look_up(&self, app: &AppId, mut due: Due) -> Outcome {
        let deadline = Instant::now() + self.options.deadline.min(FOREVER);
        loop {
            if let Some(failure) = due.failure {
                let now = self.clock.monotonic();
                let is_pausing = failure.is_pausing(now);
                match due.stale {
                    // In an outage nobody waits: one look-up at a time finds out whether it is over.
                    Some(keys) if failure.is_recent(now, self.options.deadline) => {
                        if !is_pausing {
                            drop(self.fly(app, due.is_known));
                        }
                        return Ok(Some(keys));
                    }
                    None if is_pausing => return Err(failure.error),
                    _ => {}
                }
            }
            let mut flight = self.fly(app, due.is_known)?;
            let outcome = timeout_at(deadline, flight.outcome()).await;
            let is_late = outcome.is_err();
            let is_void = !self.memory.generations().is_current(flight.generation);
            let error = match outcome {
                Ok(Ok(answer)) if !is_void => return Ok(answer),
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(error),
                Err(_) => Some(LookUpError::Deadline(self.options.deadline)),
            };
            match (self.recall(app), error) {
                (Recalled::Fresh(answer), _) => return Ok(answer),
                (Recalled::Due(Due { stale: Some(keys), .. }), _) if !is_void => return Ok(Some(keys)),
                (Recalled::Due(_), Some(error)) if !is_void || is_late => return Err(error),
                // An invalidation has overtaken the look-up.
                (Recalled::Due(again), _) => due = again,
            }
        }
    }

    /// In a task of its own: whoever asked first may give up first.
    fn fly(&self, app: &AppId, is_known: bool) -> Result<Flight, LookUpError> {
        let runtime = Handle::try_current().map_err(|_| LookUpError::NoRuntime)?;
        let generation = self.memory.generations().of(app);
        let (flight, pilot) = self.flights.join(app, generation, is_known)?;
        if let Some(pilot) = pilot {
            let cached = self.clone();
            runtime.spawn(async move {
                let outcome = timeout(cached.options.deadline, cached.find_out(&pilot)).await;
                let outcome = match outcome {
                    Ok(outcome) => outcome,
                    Err(_) => cached.failed(&pilot, LookUpError::Deadline(cached.options.deadline)),
                };
                pilot.land(outcome);
            });
        }
        Ok(flight)
    }

    async fn find_out(&self, pilot: &Pilot) -> Outcome {
        let _turn = pilot.turn().await;
        // Another look-up may have ended since this one was asked for.
        match self.recall(pilot.app()) {
            Recalled::Fresh(answer) => return Ok(answer),
            Recalled::Due(Due { failure: Some(failure), .. }) if failure.is_pausing(self.clock.monotonic()) => {
                return Err(failure.error);
            }
            Recalled::Due(_) => {}
        }
        let start = Start { at: self.clock.monotonic(), generation: pilot.generation() };
        let answer = AssertUnwindSafe(async { self.store.keys(pilot.app()).await }).catch_unwind().await;
        match answer {
            Ok(Ok(answer)) => {
                self.memory.learn(pilot.app(), start, answer.clone());
                Ok(answer)
            }
            Ok(Err(error)) => self.failed(pilot, LookUpError::Failed(Arc::new(error))),
            Err(_panic) => self.failed(pilot, LookUpError::Panicked),
        }
    }

    fn failed(&self, pilot: &Pilot, error: LookUpError) -> Outcome {
        let start = Start { at: self.clock.monotonic(), generation: pilot.generation() };
        self.memory.learn_failure(pilot.app(), start, error.clone());
        if let Recalled::Due(Due { stale: Some(_), .. }) = self.recall(pilot.app()) {
            self.alarm.ring(start.at, &error);
        }
        Err(error)
    }

    fn recall(&self, app: &AppId) -> Recalled {
        self.memory.recall(app, self.clock.monotonic(), &self.options)
    }
}
