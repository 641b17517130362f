//! A database with a configurable behavior that counts its lookups.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use countersign::{
    App, AppId,
    store::{KeyStore, StoreError},
};
use tokio::sync::Semaphore;

use super::secret;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Behavior {
    Healthy,
    Slow(Duration),
    Failing,
    Hanging,
    Panicking,
    /// Reads the key and waits until it is [released](Database::release). Fails if the database is failing by then.
    Held,
}

#[derive(Clone)]
pub(super) struct Database(Arc<State>);

struct State {
    table: Mutex<Table>,
    gate: Semaphore,
}

struct Table {
    apps: HashMap<String, u64>,
    behavior: Behavior,
    /// Behaviors for single apps.
    behaviors: HashMap<String, Behavior>,
    lookups: HashMap<String, usize>,
    in_flight: usize,
    max_in_flight: usize,
}

impl Database {
    pub(super) fn new() -> Self {
        let table = Table {
            apps: HashMap::new(),
            behavior: Behavior::Healthy,
            behaviors: HashMap::new(),
            lookups: HashMap::new(),
            in_flight: 0,
            max_in_flight: 0,
        };
        Self(Arc::new(State { table: Mutex::new(table), gate: Semaphore::new(0) }))
    }

    fn with<T>(&self, f: impl FnOnce(&mut Table) -> T) -> T {
        f(&mut self.0.table.lock().unwrap())
    }

    pub(super) fn set(&self, app: &str, key: u64) {
        self.with(|table| table.apps.insert(app.to_owned(), key));
    }

    pub(super) fn remove(&self, app: &str) {
        self.with(|table| table.apps.remove(app));
    }

    pub(super) fn set_behavior(&self, behavior: Behavior) {
        self.with(|table| table.behavior = behavior);
    }

    pub(super) fn set_behavior_for(&self, app: &str, behavior: Behavior) {
        self.with(|table| table.behaviors.insert(app.to_owned(), behavior));
    }

    /// Releases this number of held lookups.
    pub(super) fn release(&self, look_ups: usize) {
        self.0.gate.add_permits(look_ups);
    }

    /// The number of lookups of all apps.
    pub(super) fn lookups(&self) -> usize {
        self.with(|table| table.lookups.values().sum())
    }

    pub(super) fn lookups_of(&self, app: &str) -> usize {
        self.with(|table| table.lookups.get(app).copied().unwrap_or(0))
    }

    pub(super) fn max_lookups_of_one_app(&self) -> usize {
        self.with(|table| table.lookups.values().copied().max().unwrap_or(0))
    }

    pub(super) fn in_flight(&self) -> usize {
        self.with(|table| table.in_flight)
    }

    pub(super) fn max_in_flight(&self) -> usize {
        self.with(|table| table.max_in_flight)
    }
}

/// A lookup that has neither ended nor been cancelled.
struct InFlight(Database);

impl InFlight {
    fn new(database: &Database, app: &str) -> Self {
        database.with(|table| {
            *table.lookups.entry(app.to_owned()).or_default() += 1;
            table.in_flight += 1;
            table.max_in_flight = table.max_in_flight.max(table.in_flight);
        });
        Self(database.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.with(|table| table.in_flight -= 1);
    }
}

impl KeyStore for Database {
    async fn keys(&self, app: &AppId) -> Result<Option<App>, StoreError> {
        let app = app.as_str();
        let _in_flight = InFlight::new(self, app);
        let key = self.with(|table| table.apps.get(app).copied());
        let behavior = self.with(|table| table.behaviors.get(app).copied().unwrap_or(table.behavior));
        match behavior {
            // It waits at least once, as a store behind a network does.
            Behavior::Healthy => tokio::task::yield_now().await,
            Behavior::Slow(time) => tokio::time::sleep(time).await,
            Behavior::Failing => return Err(StoreError::new("no route to the database")),
            Behavior::Hanging => std::future::pending().await,
            Behavior::Panicking => panic!("the database panicked"),
            Behavior::Held => {
                self.0.gate.acquire().await.unwrap().forget();
                if self.with(|table| table.behavior == Behavior::Failing) {
                    return Err(StoreError::new("no route to the database"));
                }
            }
        }
        Ok(key.map(|key| secret(key).into()))
    }
}
