//! Look-ups in flight: one for each app, for all who wait for it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::{error::LookUpError, generation::Generation};
use crate::{protocol::AppId, store::App};

/// What comes of a look-up.
pub(super) type Outcome = Result<Option<App>, LookUpError>;

/// The look-ups that have not ended yet.
pub(super) struct Flights {
    of_apps: Mutex<HashMap<AppId, Flight>>,
    strangers: Arc<Semaphore>,
    /// How many of the strangers ask the store at a time.
    asking: Arc<Semaphore>,
}

/// How many look-ups of strangers may be in flight, those included that wait for their turn to ask the store: enough for
/// all apps of a service that come at once after it has started.
const MOST_STRANGERS: usize = 1024;

/// A look-up that others may wait for too.
#[derive(Clone)]
pub(super) struct Flight {
    pub(super) generation: Generation,
    outcome: watch::Receiver<Option<Outcome>>,
}

impl Flight {
    pub(super) async fn outcome(&mut self) -> Outcome {
        match self.outcome.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            // Its task is gone, with its runtime.
            _ => Err(LookUpError::NoRuntime),
        }
    }
}

impl Flights {
    pub(super) fn new(most_asking: usize) -> Self {
        let asking = most_asking.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            of_apps: Mutex::default(),
            strangers: Arc::new(Semaphore::new(MOST_STRANGERS)),
            asking: Arc::new(Semaphore::new(asking)),
        }
    }

    /// The flight that there is, or a new one with what its task needs.
    pub(super) fn join(
        self: &Arc<Self>,
        app: &AppId,
        generation: Generation,
        is_known: bool,
    ) -> Result<(Flight, Option<Pilot>), LookUpError> {
        let mut flights = self.lock();
        // One that an invalidation has overtaken is of no use any more.
        if let Some(flight) = flights.get(app).filter(|flight| flight.generation == generation) {
            return Ok((flight.clone(), None));
        }
        let place = match is_known {
            true => None,
            false => Some(self.strangers.clone().try_acquire_owned().map_err(|_| LookUpError::Busy(MOST_STRANGERS))?),
        };
        let (tell, outcome) = watch::channel(None);
        let flight = Flight { generation, outcome };
        flights.insert(app.clone(), flight.clone());
        let pilot = Pilot { flights: self.clone(), app: app.clone(), flight: flight.clone(), tell, place };
        Ok((flight, Some(pilot)))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AppId, Flight>> {
        self.of_apps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the task of a flight holds. When it is dropped, however that comes, the flight is over.
pub(super) struct Pilot {
    flights: Arc<Flights>,
    app: AppId,
    flight: Flight,
    tell: watch::Sender<Option<Outcome>>,
    place: Option<OwnedSemaphorePermit>,
}

impl Pilot {
    pub(super) fn app(&self) -> &AppId {
        &self.app
    }

    pub(super) fn generation(&self) -> Generation {
        self.flight.generation
    }

    /// Waits for its turn to ask the store. Known apps have it at once, each for itself: a flood of made-up ids does not
    /// hold them up.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        match &self.place {
            Some(_) => self.flights.asking.clone().acquire_owned().await.ok(),
            None => None,
        }
    }

    pub(super) fn land(self, outcome: Outcome) {
        // Whoever comes from now on finds it in memory.
        self.leave();
        self.tell.send_replace(Some(outcome));
    }

    fn leave(&self) {
        let mut flights = self.flights.lock();
        // Another one may fly for the app by now.
        if flights.get(&self.app).is_some_and(|flight| flight.outcome.same_channel(&self.flight.outcome)) {
            flights.remove(&self.app);
        }
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        self.leave();
    }
}
