//! Lookups in flight. All requests for an app share one lookup.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::{epoch::Epoch, error::LookupError};
use crate::{protocol::AppId, store::App};

/// The result of a lookup.
pub(super) type Outcome = Result<Option<App>, LookupError>;

/// The lookups that have not ended yet.
pub(super) struct InFlightLookups {
    of_apps: Mutex<HashMap<AppId, InFlightLookup>>,
    unknown: Arc<Semaphore>,
    /// Limits the lookups of unknown apps that reach the store at a time.
    asking: Arc<Semaphore>,
}

/// The maximum number of lookups of unknown apps in flight, including those that wait for a permit. It is large enough
/// for all apps of a service that arrive at once after a start.
const MAX_UNKNOWN: usize = 1024;

/// A lookup that several requests may wait for.
#[derive(Clone)]
pub(super) struct InFlightLookup {
    pub(super) epoch: Epoch,
    outcome: watch::Receiver<Option<Outcome>>,
}

impl InFlightLookup {
    pub(super) async fn outcome(&mut self) -> Outcome {
        match self.outcome.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            // The runtime dropped the task.
            _ => Err(LookupError::NoRuntime),
        }
    }
}

impl InFlightLookups {
    pub(super) fn new(most_asking: usize) -> Self {
        let asking = most_asking.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            of_apps: Mutex::default(),
            unknown: Arc::new(Semaphore::new(MAX_UNKNOWN)),
            asking: Arc::new(Semaphore::new(asking)),
        }
    }

    /// Returns the lookup in flight, or a new one with the guard for its task.
    pub(super) fn join(
        self: &Arc<Self>,
        app: &AppId,
        epoch: Epoch,
        is_known: bool,
    ) -> Result<(InFlightLookup, Option<LookupGuard>), LookupError> {
        let mut in_flight = self.lock();
        // Ignore a lookup from before an invalidation.
        if let Some(lookup) = in_flight.get(app).filter(|lookup| lookup.epoch == epoch) {
            return Ok((lookup.clone(), None));
        }
        let place = match is_known {
            true => None,
            false => Some(self.unknown.clone().try_acquire_owned().map_err(|_| LookupError::Busy(MAX_UNKNOWN))?),
        };
        let (tell, outcome) = watch::channel(None);
        let lookup = InFlightLookup { epoch, outcome };
        in_flight.insert(app.clone(), lookup.clone());
        let guard = LookupGuard { in_flight: self.clone(), app: app.clone(), lookup: lookup.clone(), tell, place };
        Ok((lookup, Some(guard)))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AppId, InFlightLookup>> {
        self.of_apps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The guard of a lookup's task. The lookup ends when the guard is dropped, in any way.
pub(super) struct LookupGuard {
    in_flight: Arc<InFlightLookups>,
    app: AppId,
    lookup: InFlightLookup,
    tell: watch::Sender<Option<Outcome>>,
    place: Option<OwnedSemaphorePermit>,
}

impl LookupGuard {
    pub(super) fn app(&self) -> &AppId {
        &self.app
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.lookup.epoch
    }

    /// Waits for a permit to reach the store. Known apps need no permit, so a flood of unknown ids does not delay them.
    pub(super) async fn acquire_permit(&self) -> Option<OwnedSemaphorePermit> {
        match &self.place {
            Some(_) => self.in_flight.asking.clone().acquire_owned().await.ok(),
            None => None,
        }
    }

    pub(super) fn complete(self, outcome: Outcome) {
        // Leave first: later requests find the answer in the cache.
        self.leave();
        self.tell.send_replace(Some(outcome));
    }

    fn leave(&self) {
        let mut in_flight = self.in_flight.lock();
        // A newer lookup for the app may be in flight.
        if in_flight.get(&self.app).is_some_and(|lookup| lookup.outcome.same_channel(&self.lookup.outcome)) {
            in_flight.remove(&self.app);
        }
    }
}

impl Drop for LookupGuard {
    fn drop(&mut self) {
        self.leave();
    }
}
