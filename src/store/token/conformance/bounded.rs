//! Points 6 and 8 of the contract: full stores.

use std::sync::Arc;

use super::fixtures::{END, NOW, ROOM, at, call, end, is_live, offer, put, race, renew, token, touch, user};
use crate::{
    protocol::token::Owner,
    store::token::{
        contract::TokenStore,
        record::{Offer, Placed, Record, Renewed, Room, SessionLimit, Which},
    },
};

/// A user for each token.
fn user_of(n: usize) -> Owner {
    user(&format!("u-{n}"))
}

async fn fill(store: &impl TokenStore) {
    for n in 0..10 {
        let placed = put(store, &user_of(n), n, |_| {}).await;
        assert_eq!(placed, Placed::Done { ended: 0 }, "there is room for 10 records");
    }
}

async fn put_at(store: &impl TokenStore, n: usize, now: u64) -> bool {
    let (at, record) = token(store, &user_of(n), n);
    let record = Record { expires_at: now + 10, session_expires_at: now + 10, ..record };
    call(store.put(&at, &record, ROOM, now)).await.is_ok()
}

pub(super) async fn full_store_keeps_live_records(store: &impl TokenStore) {
    fill(store).await;
    let is_placed = put_at(store, 10, NOW).await;
    for n in 0..10 {
        assert!(is_live(store, &at(store, &user_of(n), n), NOW).await, "a full store dropped a live record");
    }
    assert!(!is_placed, "a full store took another record");
    let renewed = call(store.renew(&at(store, &user_of(0), 0), &offer(store, &user_of(0), 0, 11), NOW)).await;
    assert!(renewed.is_err(), "a full store renewed a token: {renewed:?}");
    assert!(is_live(store, &at(store, &user_of(0), 0), NOW).await, "a renewal in a full store ended the old token");
}

pub(super) async fn expired_records_make_room(store: &impl TokenStore) {
    fill(store).await;
    for n in 10..20 {
        assert!(put_at(store, n, END + 61).await, "a full store did not remove expired records");
    }
}

pub(super) async fn ended_records_make_room(store: &impl TokenStore) {
    fill(store).await;
    for n in 0..10 {
        end(store, &user_of(n), Which::All, 0).await;
    }
    for n in 10..20 {
        assert!(put_at(store, n, NOW).await, "a full store did not remove ended records");
    }
}

pub(super) async fn renewals_do_not_fill_a_store(store: &impl TokenStore) {
    let owner = user("u-1");
    put(store, &owner, 0, |_| {}).await;
    for n in 0..100 {
        let offer = Offer { overlap: 0, ..offer(store, &owner, 0, n + 1) };
        let renewed = call(store.renew(&at(store, &owner, n), &offer, NOW)).await;
        assert!(matches!(renewed, Ok(Renewed::Kept { .. })), "renewals filled the store: {renewed:?}");
        touch(store, &offer.successor, NOW, None).await;
    }
    // With an overlap, too many renewals are refused.
    let owner = user("u-2");
    put(store, &owner, 0, |_| {}).await;
    let mut newest = 0;
    for n in 1..100 {
        let renewed = renew(store, &at(store, &owner, newest), &offer(store, &owner, 0, n), NOW).await;
        if let Renewed::Kept { .. } = renewed {
            newest = n;
        }
    }
}

pub(super) async fn ends_do_not_fill_a_store(store: &impl TokenStore) {
    let owner = user("u-1");
    let room = Room { limit: Some(SessionLimit::NewestWins(1)), remember: 1000, ..ROOM };
    for n in 0..200 {
        let (at, record) = token(store, &owner, n);
        let placed = call(store.put(&at, &record, room, NOW)).await;
        assert!(placed.is_ok(), "logins filled the store with ended records: {placed:?}");
    }
}

pub(super) async fn racing_logins_do_not_exceed_the_room<S: TokenStore>(store: Arc<S>) {
    let placed = race(&store, |store, n| async move {
        let (at, record) = token(&*store, &user_of(n), n);
        store.put(&at, &record, ROOM, NOW).await
    });
    let placed: Vec<bool> = placed.await.iter().map(Result::is_ok).collect();
    for (n, is_placed) in placed.iter().enumerate() {
        let is_live = is_live(&*store, &at(&*store, &user_of(n), n), NOW).await;
        assert_eq!(is_live, *is_placed, "whether record {n} of 64 in a full store is live");
    }
    assert_eq!(placed.iter().filter(|is_placed| **is_placed).count(), 10, "racing logins in a store of 10 records");
    // Nothing is left of the calls that failed.
    end(&*store, &user_of(placed.iter().position(|placed| *placed).unwrap_or_default()), Which::All, 0).await;
    put(&*store, &user("another"), 99, |_| {}).await;
}
