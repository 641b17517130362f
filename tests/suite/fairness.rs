//! How apps share the capacity of the memory store.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use countersign::store::{MemoryNonceStore, NonceClaim, NonceStatus, NonceStore, OwnerTag, Retention};
use futures_util::FutureExt;

use crate::rig::NOW;

const CAPACITY: usize = 64_000;

/// Claims a new nonce. Returns whether the claim is accepted.
fn claims(store: &MemoryNonceStore, app: &str) -> bool {
    claims_as(store, app, None)
}

/// Like [`claims`], for one user of the app.
fn claims_as(store: &MemoryNonceStore, app: &str, owner: Option<&OwnerTag>) -> bool {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let nonce = format!("nonce-{}", COUNT.fetch_add(1, Ordering::Relaxed)).parse().unwrap();
    let retention = Retention::new(NOW, NOW + 601);
    let app = app.parse().unwrap();
    let claim = NonceClaim::new(&app, &nonce);
    let claim = owner.map_or(claim, |owner| claim.with_owner(owner));
    match store.claim(&claim, retention).now_or_never().unwrap() {
        Ok(status) => status == NonceStatus::New,
        Err(_) => false,
    }
}

/// The number of accepted claims, of `count`.
fn claims_of(store: &MemoryNonceStore, app: &str, count: usize) -> usize {
    (0..count).filter(|_| claims(store, app)).count()
}

fn flooded() -> MemoryNonceStore {
    let store = MemoryNonceStore::with_capacity(CAPACITY);
    while claims(&store, "flood") {}
    store
}

#[test]
fn single_app_gets_three_quarters() {
    assert_eq!(flooded().len(), CAPACITY / 4 * 3);
}

#[test]
fn small_apps_get_their_share_after_a_flood() {
    let store = flooded();
    let held: usize = (0..200).map(|n| claims_of(&store, &format!("app-{n}"), 100)).sum();
    assert!(held >= 15_500, "{held} of 20,000");
}

#[test]
fn small_apps_get_their_share_during_a_flood() {
    let store = MemoryNonceStore::with_capacity(CAPACITY);
    let (start, stop) = (Barrier::new(3), AtomicBool::new(false));
    let held: usize = thread::scope(|scope| {
        scope.spawn(|| {
            start.wait();
            while !stop.load(Ordering::Relaxed) {
                claims(&store, "flood");
            }
        });
        let halves = [0..100, 100..200].map(|apps| {
            let (store, start) = (&store, &start);
            scope.spawn(move || {
                start.wait();
                let claim = |n: usize| (0..100).filter(|_| claims(store, &format!("app-{n}"))).count();
                apps.map(claim).sum::<usize>()
            })
        });
        let held = halves.map(|half| half.join().unwrap()).into_iter().sum();
        stop.store(true, Ordering::Relaxed);
        held
    });
    assert!(held >= 15_500, "{held} of 20,000");
    assert!(store.len() <= CAPACITY);
}

#[test]
fn app_with_three_percent_gets_its_full_share() {
    let share = CAPACITY * 3 / 100;
    assert_eq!(claims_of(&flooded(), "modest", share), share);
}

/// Repeated, because each store hashes app ids with another key.
#[test]
fn first_nonce_of_each_app_is_accepted() {
    for _ in 0..10 {
        let store = flooded();
        assert_eq!((0..5000).filter(|n| !claims(&store, &format!("app-{n}"))).count(), 0);
    }
}

#[test]
fn store_fills_when_all_apps_claim() {
    let store = flooded();
    for n in 0..CAPACITY {
        claims(&store, &format!("app-{n}"));
    }
    assert_eq!(store.len(), CAPACITY);
    assert!(!claims(&store, "one-more"));
}

/// The app's own nonces expire while no other app claims any.
#[test]
fn large_app_regains_its_share_after_expiry() {
    let store = flooded();
    let later = Retention::new(NOW + 601, NOW + 1202);
    for n in 0..CAPACITY / 4 * 3 {
        let nonce = format!("later-{n}").parse().unwrap();
        let status = store.claim(&NonceClaim::new(&"flood".parse().unwrap(), &nonce), later).now_or_never().unwrap();
        assert_eq!(status.unwrap(), NonceStatus::New, "claim {n}");
    }
}

#[test]
fn one_users_script_spares_the_apps_other_users() {
    let store = MemoryNonceStore::with_capacity(CAPACITY);
    let owner = |n: u128| OwnerTag::from_bytes(n.to_le_bytes());
    let script = (0..CAPACITY).take_while(|_| claims_as(&store, "pages", Some(&owner(0)))).count();
    assert!(script < CAPACITY / 4 * 3, "{script}");
    for n in 1..200 {
        assert!(
            (0..10).all(|_| claims_as(&store, "pages", Some(&owner(n)))),
            "user {n}, after {script} claims of one user"
        );
    }
}

#[test]
fn many_users_gain_no_larger_share() {
    let store = MemoryNonceStore::with_capacity(CAPACITY);
    for n in 0..CAPACITY as u128 {
        claims_as(&store, "pages", Some(&OwnerTag::from_bytes(n.to_le_bytes())));
    }
    assert_eq!(store.len(), CAPACITY / 4 * 3);
    assert_eq!(claims_of(&store, "other", 1000), 1000);
}
