//! The suite for key stores is worth nothing if a store that breaks the contract passes.

use std::sync::{
    Mutex,
    atomic::{AtomicIsize, Ordering},
};

use countersign::{
    App, AppId,
    store::{KeyStore, StoreError, conformance, key_fn},
};

use crate::rig;

/// Knows `demo` and whatever else it takes for it.
fn knows(is_demo: impl Fn(&str) -> bool + Send + Sync + 'static) -> impl KeyStore {
    key_fn(move |app: AppId| std::future::ready(Ok::<_, StoreError>(is_demo(app.as_str()).then(rig::secret))))
}

async fn fails(store: impl KeyStore) -> bool {
    let (known, unknown): (AppId, AppId) = ("demo".parse().unwrap(), "stranger".parse().unwrap());
    tokio::spawn(async move { conformance::key_store(&store, &known, &unknown).await }).await.is_err()
}

#[tokio::test]
async fn ids_that_are_nearly_known_are_found_out() {
    assert!(!fails(knows(|id| id == "demo")).await);
    assert!(fails(knows(|id| id.eq_ignore_ascii_case("demo"))).await, "a collation");
    assert!(fails(knows(|id| id.starts_with("demo"))).await, "a key that is cut");
    assert!(fails(knows(|id| "demo".contains(id))).await, "a search");
    assert!(fails(knows(|id| id == "demo" || id == "dem")).await, "a letter less at the end");
    assert!(fails(knows(|id| id == "demo" || id == "emo")).await, "or at the beginning");
    assert!(fails(knows(|id| id.replacen('_', "d", 1) == "demo")).await, "a LIKE");
    assert!(fails(knows(|_| false)).await);
    assert!(fails(knows(|_| true)).await);
}

/// Has so many connections, and gets back none of a look-up that is given up.
struct LosesConnections(AtomicIsize);

impl KeyStore for LosesConnections {
    async fn keys(&self, app: &AppId) -> Result<Option<App>, StoreError> {
        if self.0.fetch_sub(1, Ordering::Relaxed) <= 0 {
            return Err(StoreError::new("no connection left"));
        }
        tokio::task::yield_now().await;
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok((app.as_str() == "demo").then(|| rig::secret().into()))
    }
}

/// Gives the answer of the last one who asked to whoever comes for it.
struct MixesUp(Mutex<String>);

impl KeyStore for MixesUp {
    async fn keys(&self, app: &AppId) -> Result<Option<App>, StoreError> {
        *self.0.lock().unwrap() = app.to_string();
        tokio::task::yield_now().await;
        Ok((*self.0.lock().unwrap() == "demo").then(|| rig::secret().into()))
    }
}

#[tokio::test(start_paused = true)]
async fn mixed_up_answers_fail_the_suite() {
    assert!(fails(MixesUp(Mutex::default())).await);
}

#[tokio::test(start_paused = true)]
async fn stores_that_fail_or_never_answer_are_found_out() {
    assert!(fails(LosesConnections(AtomicIsize::new(64))).await);
    assert!(fails(key_fn(|_| std::future::pending::<Result<Option<App>, StoreError>>())).await);
    assert!(fails(key_fn(|_| async { Err::<Option<App>, _>("no route") })).await);
}

#[test]
fn an_app_that_is_listed_twice_is_named() {
    let apps = ["demo", "other", "demo"].map(|id| (id.parse().unwrap(), rig::secret()));
    let error = countersign::StaticKeys::new(apps).unwrap_err();
    assert_eq!(error.app_id().as_str(), "demo");
    assert_eq!(error.to_string(), "app demo is listed twice: list it once, with all its keys in one KeyRing");
}
