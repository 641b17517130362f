//! How apps share the room of the memory store.

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

/// Whether the claim is let in. Each nonce is new.
fn claims(store: &MemoryNonceStore, app: &str) -> bool {
    claims_as(store, app, None)
}

/// The same for a user of the app.
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

/// How many of so many claims are let in.
fn claims_of(store: &MemoryNonceStore, app: &str, count: usize) -> usize {
    (0..count).filter(|_| claims(store, app)).count()
}

fn flooded() -> MemoryNonceStore {
    let store = MemoryNonceStore::with_capacity(CAPACITY);
    while claims(&store, "flood") {}
    store
}

#[test]
fn an_app_alone_gets_three_quarters() {
    assert_eq!(flooded().len(), CAPACITY / 4 * 3);
}

#[test]
fn small_apps_get_their_room_after_a_flood() {
    let store = flooded();
    let held: usize = (0..200).map(|n| claims_of(&store, &format!("app-{n}"), 100)).sum();
    assert!(held >= 15_500, "{held} of 20,000");
}

#[test]
fn small_apps_get_their_room_beside_a_flood() {
    let store = MemoryNonceStore::with_capacity(CAPACITY);
    let (start, is_over) = (Barrier::new(3), AtomicBool::new(false));
    let held: usize = thread::scope(|scope| {
        scope.spawn(|| {
            start.wait();
            while !is_over.load(Ordering::Relaxed) {
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
        is_over.store(true, Ordering::Relaxed);
        held
    });
    assert!(held >= 15_500, "{held} of 20,000");
    assert!(store.len() <= CAPACITY);
}

#[test]
fn an_app_of_three_percent_gets_all_its_room() {
    let share = CAPACITY * 3 / 100;
    assert_eq!(claims_of(&flooded(), "modest", share), share);
}

/// Each store hashes app ids with another key.
#[test]
fn no_app_is_refused_its_first_nonce() {
    for _ in 0..10 {
        let store = flooded();
        assert_eq!((0..5000).filter(|n| !claims(&store, &format!("app-{n}"))).count(), 0);
    }
}

#[test]
fn the_room_is_full_when_all_apps_claim() {
    let store = flooded();
    for n in 0..CAPACITY {
        claims(&store, &format!("app-{n}"));
    }
    assert_eq!(store.len(), CAPACITY);
    assert!(!claims(&store, "one-more"));
}

/// Its own nonces expire, and no other app claims anything.
#[test]
fn a_large_app_gets_its_room_again() {
    let store = flooded();
    let later = Retention::new(NOW + 601, NOW + 1202);
    for n in 0..CAPACITY / 4 * 3 {
        let nonce = format!("later-{n}").parse().unwrap();
        let status = store.claim(&NonceClaim::new(&"flood".parse().unwrap(), &nonce), later).now_or_never().unwrap();
        assert_eq!(status.unwrap(), NonceStatus::New, "claim {n}");
    }
}

#[test]
fn one_users_script_leaves_room_for_the_apps_other_users() {
    let store = MemoryNonceStore::with_capacity(CAPACITY);
    let owner = |n: u128| OwnerTag::from_bytes(n.to_le_bytes());
    let script = (0..CAPACITY).take_while(|_| claims_as(&store, "pages", Some(&owner(0)))).count();
    assert!(script < CAPACITY / 4 * 3, "{script}");
    for n in 1..200 {
        assert!(
            (0..10).all(|_| claims_as(&store, "pages", Some(&owner(n)))),
            "user {n}, beside {script} of one script"
        );
    }
}

#[test]
fn many_users_win_no_room_for_their_app() {
    let store = MemoryNonceStore::with_capacity(CAPACITY);
    for n in 0..CAPACITY as u128 {
        claims_as(&store, "pages", Some(&OwnerTag::from_bytes(n.to_le_bytes())));
    }
    assert_eq!(store.len(), CAPACITY / 4 * 3);
    assert_eq!(claims_of(&store, "other", 1000), 1000);
}
