//! A database that does as it is told, and counts.

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
pub(super) enum Mood {
    Well,
    Slow(Duration),
    Failing,
    Hanging,
    Panicking,
    /// Has read, and does not answer before it is [released](Database::release); then it fails if it is failing.
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
    mood: Mood,
    /// What mood it has for single apps.
    moods: HashMap<String, Mood>,
    asked: HashMap<String, usize>,
    in_flight: usize,
    max_in_flight: usize,
}

impl Database {
    pub(super) fn new() -> Self {
        let table = Table {
            apps: HashMap::new(),
            mood: Mood::Well,
            moods: HashMap::new(),
            asked: HashMap::new(),
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

    pub(super) fn is(&self, mood: Mood) {
        self.with(|table| table.mood = mood);
    }

    pub(super) fn is_for(&self, app: &str, mood: Mood) {
        self.with(|table| table.moods.insert(app.to_owned(), mood));
    }

    /// Lets so many look-ups go that are held.
    pub(super) fn release(&self, look_ups: usize) {
        self.0.gate.add_permits(look_ups);
    }

    /// How often it was asked in all.
    pub(super) fn asked(&self) -> usize {
        self.with(|table| table.asked.values().sum())
    }

    pub(super) fn asked_for(&self, app: &str) -> usize {
        self.with(|table| table.asked.get(app).copied().unwrap_or(0))
    }

    pub(super) fn most_asked_for_one(&self) -> usize {
        self.with(|table| table.asked.values().copied().max().unwrap_or(0))
    }

    pub(super) fn in_flight(&self) -> usize {
        self.with(|table| table.in_flight)
    }

    pub(super) fn max_in_flight(&self) -> usize {
        self.with(|table| table.max_in_flight)
    }
}

/// A look-up that has not ended, or was not given up, yet.
struct InFlight(Database);

impl InFlight {
    fn new(database: &Database, app: &str) -> Self {
        database.with(|table| {
            *table.asked.entry(app.to_owned()).or_default() += 1;
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
        let mood = self.with(|table| table.moods.get(app).copied().unwrap_or(table.mood));
        match mood {
            // Never at once: no store behind a network is.
            Mood::Well => tokio::task::yield_now().await,
            Mood::Slow(time) => tokio::time::sleep(time).await,
            Mood::Failing => return Err(StoreError::new("no route to the database")),
            Mood::Hanging => std::future::pending().await,
            Mood::Panicking => panic!("out of cheese"),
            Mood::Held => {
                self.0.gate.acquire().await.unwrap().forget();
                if self.with(|table| table.mood == Mood::Failing) {
                    return Err(StoreError::new("no route to the database"));
                }
            }
        }
        Ok(key.map(|key| secret(key).into()))
    }
}
