//! Keys that are remembered: for how long, and what they do when the store behind them does not.

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

use self::database::{Database, Mood};
use crate::rig::{self, NOW};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const TTL: Duration = Duration::from_secs(60);
const UNKNOWN_TTL: Duration = Duration::from_secs(10);
const DEADLINE: Duration = Duration::from_millis(250);

/// Where time is the machine's: it may be busy with other tests.
const PATIENT: Duration = Duration::from_secs(30);

fn app(id: &str) -> AppId {
    id.parse().unwrap()
}

/// The defaults, over a database that knows `demo` by key 1.
fn cached() -> (CachedKeys<Database>, Database, ManualClock) {
    let (database, clock) = (Database::new(), ManualClock::at(NOW));
    database.set("demo", 1);
    (CachedKeys::new(database.clone()).with_clock(clock.clone()), database, clock)
}

fn secret(key: u64) -> Secret {
    Secret::new(format!("{key:0>32}")).unwrap()
}

/// What comes of asking: `key 7`, `none`, or an error.
async fn ask(keys: &impl KeyStore, id: &str) -> String {
    match keys.keys(&app(id)).await {
        Ok(Some(ring)) => match which(&ring).await {
            Some(key) => format!("key {key}"),
            None => "another key".to_owned(),
        },
        Ok(None) => "none".to_owned(),
        Err(error) => error.source().unwrap().to_string(),
    }
}

/// [`ask`], and that nothing was waited for.
async fn ask_at_once(keys: &impl KeyStore, id: &str) -> String {
    let start = Instant::now();
    let answer = ask(keys, id).await;
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

/// Whether a request that this key signed is let in.
async fn signs(known: &App, key: u64) -> bool {
    let clock = ManualClock::at(NOW);
    let verifier = Verifier::new(StaticKeys::new([(app("demo"), known.clone())]).unwrap()).with_clock(clock);
    let request = rig::signed_by(&Signer::new(app("demo"), secret(key)), NOW, rig::get("/"));
    rig::verify(&verifier, request).await.is_ok()
}

/// Lets all tasks go as far as they can.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}
