//! The conformance suite for key stores rejects stores that break the contract.

use std::sync::{
    Mutex,
    atomic::{AtomicIsize, Ordering},
};

use countersign::{
    App, AppId,
    store::{KeyStore, StoreError, conformance, key_fn},
};

use crate::rig;

/// A store that knows the ids for which `is_demo` is true.
fn knows(is_demo: impl Fn(&str) -> bool + Send + Sync + 'static) -> impl KeyStore {
    key_fn(move |app: AppId| std::future::ready(Ok::<_, StoreError>(is_demo(app.as_str()).then(rig::secret))))
}

async fn fails(store: impl KeyStore) -> bool {
    let (known, unknown): (AppId, AppId) = ("demo".parse().unwrap(), "stranger".parse().unwrap());
    tokio::spawn(async move { conformance::key_store(&store, &known, &unknown).await }).await.is_err()
}

#[tokio::test]
async fn inexact_id_matches_fail_the_suite() {
    assert!(!fails(knows(|id| id == "demo")).await);
    assert!(fails(knows(|id| id.eq_ignore_ascii_case("demo"))).await, "a collation that ignores case");
    assert!(fails(knows(|id| id.starts_with("demo"))).await, "a truncated id");
    assert!(fails(knows(|id| "demo".contains(id))).await, "a substring search");
    assert!(fails(knows(|id| id == "demo" || id == "dem")).await, "the last letter is missing");
    assert!(fails(knows(|id| id == "demo" || id == "emo")).await, "the first letter is missing");
    assert!(fails(knows(|id| id.replacen('_', "d", 1) == "demo")).await, "a LIKE pattern");
    assert!(fails(knows(|_| false)).await);
    assert!(fails(knows(|_| true)).await);
}

/// A store with a limited number of connections that loses the connection of each cancelled lookup.
struct LeakingConnections(AtomicIsize);

impl KeyStore for LeakingConnections {
    async fn keys(&self, app: &AppId) -> Result<Option<App>, StoreError> {
        if self.0.fetch_sub(1, Ordering::Relaxed) <= 0 {
            return Err(StoreError::new("no connection left"));
        }
        tokio::task::yield_now().await;
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok((app.as_str() == "demo").then(|| rig::secret().into()))
    }
}

/// A store that returns the answer for the most recent app id to every caller.
struct MixedUpAnswers(Mutex<String>);

impl KeyStore for MixedUpAnswers {
    async fn keys(&self, app: &AppId) -> Result<Option<App>, StoreError> {
        *self.0.lock().unwrap() = app.to_string();
        tokio::task::yield_now().await;
        Ok((*self.0.lock().unwrap() == "demo").then(|| rig::secret().into()))
    }
}

#[tokio::test(start_paused = true)]
async fn mixed_up_answers_fail_the_suite() {
    assert!(fails(MixedUpAnswers(Mutex::default())).await);
}

#[tokio::test(start_paused = true)]
async fn failing_and_hanging_stores_fail_the_suite() {
    assert!(fails(LeakingConnections(AtomicIsize::new(64))).await);
    assert!(fails(key_fn(|_| std::future::pending::<Result<Option<App>, StoreError>>())).await);
    assert!(fails(key_fn(|_| async { Err::<Option<App>, _>("no route") })).await);
}

#[test]
fn duplicate_app_is_named_in_the_error() {
    let apps = ["demo", "other", "demo"].map(|id| (id.parse().unwrap(), rig::secret()));
    let error = countersign::StaticKeys::new(apps).unwrap_err();
    assert_eq!(error.app_id().as_str(), "demo");
    assert_eq!(error.to_string(), "app demo is listed twice: list it once, with all its keys in one KeyRing");
}
