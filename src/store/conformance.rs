//! Conformance tests for custom stores.
//!
//! ```
//! # use countersign::store::{MemoryNonceStore, conformance};
//! # #[tokio::main]
//! # async fn main() {
//! conformance::nonce_store(MemoryNonceStore::new).await;
//! conformance::bounded_nonce_store(MemoryNonceStore::with_capacity).await;
//! # }
//! ```
//!
//! Each function panics if the store breaks the contract. Run the functions on a multi-threaded tokio runtime with time
//! enabled. On a single thread, the tests of concurrent claims cannot find races.

#![allow(clippy::panic, clippy::missing_panics_doc, reason = "a broken contract fails the test that called")]

use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};

use tokio::{sync::Barrier, task::JoinSet, time::timeout};

#[cfg(feature = "submissions")]
#[cfg_attr(docsrs, doc(cfg(feature = "submissions")))]
pub use super::submission::conformance::{bounded_submission_store, submission_store};
#[cfg(feature = "tokens")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokens")))]
pub use super::token::conformance::{bounded_token_store, token_store};
use super::{App, KeyStore, NonceClaim, NonceStatus, NonceStore, OwnerTag, Purpose, StoreError};
use crate::protocol::{AppId, Nonce, Retention};

const NOW: u64 = 1_700_000_000;
const UNTIL: u64 = NOW + 601;

/// The deadline for calls that must end in bounded time.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tests a nonce store against its [contract](NonceStore#contract). `new` creates an empty store each time.
pub async fn nonce_store<S: NonceStore>(new: impl Fn() -> S) {
    a_nonce_is_first_once(&new()).await;
    apps_and_nonces_do_not_meet(&new()).await;
    purposes_do_not_meet(&new()).await;
    users_of_an_app_do_meet(&new()).await;
    a_claim_lives_to_its_last_second(&new()).await;
    a_claim_after_its_end_is_not_first(&new()).await;
    a_race_has_one_winner(Arc::new(new())).await;
}

async fn a_nonce_is_first_once(store: &impl NonceStore) {
    assert_eq!(claim(store, "demo", "nonce-1", NOW, UNTIL).await, NonceStatus::New);
    for _ in 0..3 {
        assert_eq!(claim(store, "demo", "nonce-1", NOW, UNTIL).await, NonceStatus::Replayed, "a nonce was first twice");
    }
}

async fn apps_and_nonces_do_not_meet(store: &impl NonceStore) {
    // Some of these pairs collide if they are joined without a separator, or with any character that an id or a nonce
    // may contain.
    let pairs = [
        ("a", "bcdefgh"),
        ("ab", "cdefgh"),
        ("a", "b.cdefgh"),
        ("a.b", "cdefgh"),
        ("a", "b-cdefgh"),
        ("a-b", "cdefgh"),
        ("a", "b_cdefgh"),
        ("a_b", "cdefgh"),
        ("A", "bcdefgh"),
        ("a", "BCDEFGH"),
    ];
    for (app, nonce) in pairs {
        let status = claim(store, app, nonce, NOW, UNTIL).await;
        assert_eq!(status, NonceStatus::New, "({app}, {nonce}) met another pair");
    }
    for (app, nonce) in pairs {
        assert_eq!(claim(store, app, nonce, NOW, UNTIL).await, NonceStatus::Replayed, "({app}, {nonce}) was forgotten");
    }
}

async fn purposes_do_not_meet(store: &impl NonceStore) {
    let (app, nonce) = parsed("demo", "nonce-1");
    let request = NonceClaim::new(&app, &nonce);
    let link = request.with_purpose(Purpose::Link);
    for claim in [request, link] {
        assert_eq!(claimed(store, claim).await, NonceStatus::New, "{claim:?} met one for another purpose");
    }
    for claim in [request, link] {
        assert_eq!(claimed(store, claim).await, NonceStatus::Replayed, "{claim:?} was forgotten");
    }
    // An app with the same name as a purpose must not collide with it.
    let (app, nonce) = parsed("link", "nonce-1");
    let status = claimed(store, NonceClaim::new(&app, &nonce)).await;
    assert_eq!(status, NonceStatus::New, "a request of the app \"link\" met a link of another app");
}

/// All users of an app share its nonces.
async fn users_of_an_app_do_meet(store: &impl NonceStore) {
    let (app, nonce) = parsed("demo", "nonce-1");
    let owners = [1, 2].map(|n| OwnerTag::from_bytes([n; 16]));
    let [one, other] = owners.each_ref().map(|owner| NonceClaim::new(&app, &nonce).with_owner(owner));
    assert_eq!(claimed(store, one).await, NonceStatus::New);
    for claim in [one, other, NonceClaim::new(&app, &nonce)] {
        assert_eq!(claimed(store, claim).await, NonceStatus::Replayed, "{claim:?} used a nonce of the app again");
    }
}

async fn a_claim_lives_to_its_last_second(store: &impl NonceStore) {
    assert_eq!(claim(store, "demo", "nonce-1", NOW, UNTIL).await, NonceStatus::New);
    for now in [NOW + 1, NOW + 300, UNTIL - 1] {
        let status = claim(store, "demo", "nonce-1", now, now + 1).await;
        assert_eq!(status, NonceStatus::Replayed, "a claim was dead {} s before its end", UNTIL - now);
    }
}

/// One caller reads its clock in the claim's last second. Then 1,000 callers that read the next second reach the store
/// first.
async fn a_claim_after_its_end_is_not_first(store: &impl NonceStore) {
    assert_eq!(claim(store, "demo", "nonce-1", NOW, UNTIL).await, NonceStatus::New);
    for n in 0..1000 {
        claim(store, "demo", &format!("later-{n}"), UNTIL, UNTIL + 601).await;
    }
    let status = claim(store, "demo", "nonce-1", UNTIL - 1, UNTIL).await;
    assert_ne!(status, NonceStatus::New, "a nonce was first twice, the second time after its end");
}

async fn a_race_has_one_winner<S: NonceStore>(store: Arc<S>) {
    const RACERS: usize = 8;
    const NONCES: usize = 500;
    let start = Arc::new(Barrier::new(RACERS));
    let mut racers = JoinSet::new();
    for _ in 0..RACERS {
        let (store, start) = (store.clone(), start.clone());
        racers.spawn(async move {
            start.wait().await;
            let mut won = Vec::new();
            for n in 0..NONCES {
                if claim(&*store, "demo", &format!("nonce-{n}"), NOW, UNTIL).await == NonceStatus::New {
                    won.push(n);
                }
            }
            won
        });
    }
    let mut won: Vec<usize> = racers.join_all().await.into_iter().flatten().collect();
    won.sort_unstable();
    assert!(won.iter().copied().eq(0..NONCES), "{} claims on {NONCES} nonces were first", won.len());
}

/// Tests a nonce store of fixed size against the contract for full stores. `new` creates an empty store with this
/// capacity, counted for one app or for all apps together.
pub async fn bounded_nonce_store<S: NonceStore>(new: impl Fn(usize) -> S) {
    const CAPACITY: usize = 512;
    let store = new(CAPACITY);
    let mut held = 0;
    while try_claim(&store, "demo", &format!("nonce-{held}"), NOW, UNTIL).await.is_ok() {
        held += 1;
        assert!(held <= CAPACITY, "the store took more than it holds, so it dropped something");
    }
    assert!(held >= CAPACITY / 2, "the store was full with {held} nonces of {CAPACITY}");
    for n in 0..held {
        let status = claim(&store, "demo", &format!("nonce-{n}"), UNTIL - 1, UNTIL + 600).await;
        assert_eq!(status, NonceStatus::Replayed, "a full store forgot a live nonce");
    }
    assert!(try_claim(&store, "demo", "nonce-late", UNTIL - 1, UNTIL + 600).await.is_err(), "nothing expired yet");
    for n in 0..held {
        let status = claim(&store, "demo", &format!("later-{n}"), UNTIL, UNTIL + 601).await;
        assert_eq!(status, NonceStatus::New, "there is room for what has expired");
    }
}

/// Tests a key store against its [contract](KeyStore). The store must know `known`. It must not know `unknown`, or any
/// id that is similar to `known`: with letters of the other case, with one letter more or less, or with `_`, the SQL
/// wildcard, as its first letter.
pub async fn key_store(store: &impl KeyStore, known: &AppId, unknown: &AppId) {
    for _ in 0..2 {
        is_known(store, known).await;
        is_unknown(store, unknown).await;
    }
    ids_are_compared_byte_by_byte(store, known).await;
    a_look_up_may_be_given_up(store, known, unknown).await;
    look_ups_at_once_do_not_meet(store, known, unknown).await;
}

async fn is_known(store: &impl KeyStore, app: &AppId) {
    assert!(look_up(store, app).await.is_some(), "{app} has no keys");
}

async fn is_unknown(store: &impl KeyStore, app: &AppId) {
    assert!(look_up(store, app).await.is_none(), "{app} has keys");
}

async fn look_up(store: &impl KeyStore, app: &AppId) -> Option<App> {
    match timeout(PATIENCE, store.keys(app)).await {
        Ok(Ok(keys)) => keys,
        Ok(Err(error)) => panic!("{app} cannot be looked up: {error:?}"),
        Err(_) => panic!("{app} was not looked up within {} s", PATIENCE.as_secs()),
    }
}

/// Otherwise a caller could authenticate under the id of another app.
async fn ids_are_compared_byte_by_byte(store: &impl KeyStore, known: &AppId) {
    let id = known.as_str();
    let other_case =
        id.bytes().map(|b| if b.is_ascii_lowercase() { b.to_ascii_uppercase() } else { b.to_ascii_lowercase() });
    let near = [
        other_case.collect(),
        id[1..].into(),
        id[..id.len() - 1].into(),
        [id, "0"].concat().into(),
        ["_", &id[1..]].concat().into(),
    ];
    for id in near.iter().filter_map(|id: &Vec<u8>| AppId::parse(id).ok()).filter(|id| id != known) {
        is_unknown(store, &id).await;
    }
}

/// Callers drop their lookups while they wait.
async fn a_look_up_may_be_given_up(store: &impl KeyStore, known: &AppId, unknown: &AppId) {
    for app in [known, unknown] {
        let mut given_up = Box::pin(store.keys(app));
        poll_fn(|context| {
            drop(given_up.as_mut().poll(context));
            Poll::Ready(())
        })
        .await;
    }
    is_known(store, known).await;
    is_unknown(store, unknown).await;
}

async fn look_ups_at_once_do_not_meet(store: &impl KeyStore, known: &AppId, unknown: &AppId) {
    let mut look_ups: Vec<_> = (0..64)
        .map(|n| {
            Box::pin(async move {
                match n % 2 {
                    0 => is_known(store, known).await,
                    _ => is_unknown(store, unknown).await,
                }
            })
        })
        .collect();
    poll_fn(|context| {
        look_ups.retain_mut(|look_up| look_up.as_mut().poll(context).is_pending());
        if look_ups.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

async fn claim(store: &impl NonceStore, app: &str, nonce: &str, now: u64, until: u64) -> NonceStatus {
    match try_claim(store, app, nonce, now, until).await {
        Ok(status) => status,
        Err(error) => panic!("the store failed: {error}"),
    }
}

async fn try_claim(
    store: &impl NonceStore,
    app: &str,
    nonce: &str,
    now: u64,
    until: u64,
) -> Result<NonceStatus, StoreError> {
    let (app, nonce) = parsed(app, nonce);
    store.claim(&NonceClaim::new(&app, &nonce), Retention::new(now, until)).await
}

async fn claimed(store: &impl NonceStore, claim: NonceClaim<'_>) -> NonceStatus {
    match store.claim(&claim, Retention::new(NOW, UNTIL)).await {
        Ok(status) => status,
        Err(error) => panic!("the store failed: {error}"),
    }
}

fn parsed(app: &str, nonce: &str) -> (AppId, Nonce) {
    match (AppId::parse(app.as_bytes()), Nonce::parse(nonce.as_bytes())) {
        (Ok(app), Ok(nonce)) => (app, nonce),
        _ => panic!("({app}, {nonce}) is no app id and nonce"),
    }
}
