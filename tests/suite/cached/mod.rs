//! `CachedKeys`: TTLs, lookups in flight, invalidation, and outages of the store behind it.

mod bound;
mod database;
mod invalidation;
mod look_ups;
mod made_up;
mod outages;

use std::{error::Error, time::Duration};

use countersign::{
    App, AppId, Secret, Signer, StaticKeys, Verifier,
    clock::ManualClock,
    store::{CachedKeys, KeyStore},
};
use tokio::time::Instant;

use self::database::{Behavior, Database};
use crate::rig::{self, NOW};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const TTL: Duration = Duration::from_secs(60);
const UNKNOWN_TTL: Duration = Duration::from_secs(10);
const DEADLINE: Duration = Duration::from_millis(250);

/// A deadline for tests on the real clock, where other tests may keep the machine busy.
const PATIENT: Duration = Duration::from_secs(30);

fn app(id: &str) -> AppId {
    id.parse().unwrap()
}

/// A cache with the default settings over a database in which `demo` has key 1.
fn cached() -> (CachedKeys<Database>, Database, ManualClock) {
    let (database, clock) = (Database::new(), ManualClock::at(NOW));
    database.set("demo", 1);
    (CachedKeys::new(database.clone()).with_clock(clock.clone()), database, clock)
}

fn secret(key: u64) -> Secret {
    Secret::new(format!("{key:0>32}")).unwrap()
}

/// Looks the app up. Returns `key 7`, `none`, or an error.
async fn look_up(keys: &impl KeyStore, id: &str) -> String {
    match keys.keys(&app(id)).await {
        Ok(Some(ring)) => match which(&ring).await {
            Some(key) => format!("key {key}"),
            None => "another key".to_owned(),
        },
        Ok(None) => "none".to_owned(),
        Err(error) => error.source().unwrap().to_string(),
    }
}

/// Like [`look_up`], and asserts that it does not wait.
async fn look_up_now(keys: &impl KeyStore, id: &str) -> String {
    let start = Instant::now();
    let answer = look_up(keys, id).await;
    assert_eq!(start.elapsed(), Duration::ZERO, "{answer}");
    answer
}

async fn which(app: &App) -> Option<u64> {
    for key in 1..=12 {
        if signs(app, key).await {
            return Some(key);
        }
    }
    None
}

/// Whether the verifier accepts a request signed with this key.
async fn signs(known: &App, key: u64) -> bool {
    let clock = ManualClock::at(NOW);
    let verifier = Verifier::new(StaticKeys::new([(app("demo"), known.clone())]).unwrap()).with_clock(clock);
    let request = rig::signed_by(&Signer::new(app("demo"), secret(key)), NOW, rig::get("/"));
    rig::verify(&verifier, request).await.is_ok()
}

/// Lets all tasks run until they wait.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}
