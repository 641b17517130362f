//! Look-ups in flight: one for each app, for all who wait for it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::{epoch::Epoch, error::LookupError};
use crate::{protocol::AppId, store::App};

/// What comes of a look-up.
pub(super) type Outcome = Result<Option<App>, LookupError>;

/// The look-ups that have not ended yet.
pub(super) struct InFlightLookups {
    of_apps: Mutex<HashMap<AppId, InFlightLookup>>,
    unknown: Arc<Semaphore>,
    /// How many of the strangers ask the store at a time.
    asking: Arc<Semaphore>,
}

/// How many look-ups of strangers may be in flight, those included that wait for their turn to ask the store: enough for
/// all apps of a service that come at once after it has started.
const MAX_UNKNOWN: usize = 1024;

/// A look-up that others may wait for too.
#[derive(Clone)]
pub(super) struct InFlightLookup {
    pub(super) epoch: Epoch,
    outcome: watch::Receiver<Option<Outcome>>,
}

impl InFlightLookup {
    pub(super) async fn outcome(&mut self) -> Outcome {
        match self.outcome.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            // Its task is gone, with its runtime.
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

    /// The flight that there is, or a new one with what its task needs.
    pub(super) fn join(
        self: &Arc<Self>,
        app: &AppId,
        epoch: Epoch,
        is_known: bool,
    ) -> Result<(InFlightLookup, Option<LookupGuard>), LookupError> {
        let mut in_flight = self.lock();
        // One that an invalidation has overtaken is of no use any more.
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

/// What the task of a flight holds. When it is dropped, however that comes, the flight is over.
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

    /// Waits for its turn to ask the store. Known apps have it at once, each for itself: a flood of made-up ids does not
    /// hold them up.
    pub(super) async fn acquire_permit(&self) -> Option<OwnedSemaphorePermit> {
        match &self.place {
            Some(_) => self.in_flight.asking.clone().acquire_owned().await.ok(),
            None => None,
        }
    }

    pub(super) fn complete(self, outcome: Outcome) {
        // Whoever comes from now on finds it in memory.
        self.leave();
        self.tell.send_replace(Some(outcome));
    }

    fn leave(&self) {
        let mut in_flight = self.in_flight.lock();
        // Another one may fly for the app by now.
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
