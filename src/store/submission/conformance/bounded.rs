//! Point 10 of the contract: full stores.

use std::{sync::Arc, time::Duration};

use super::fixtures::{Fixture, RACERS, answer, done, fingerprint, place, race, try_reserve};
use crate::store::submission::{
    contract::SubmissionStore,
    entry::{EntryState, Finish, Reserved, WhenLost},
};

/// Reserves places until the store refuses one. Returns how many it gave.
async fn fill<S: SubmissionStore>(on: &Fixture<S, impl AsyncFn(Duration)>, room: usize) -> usize {
    for n in 0..=room {
        let reserved = on.store.reserve(&place(n), &on.lease(1), &fingerprint(1), on.units(4), WhenLost::Unknown).await;
        match reserved {
            Ok(reserved) => assert_eq!(reserved, Reserved::Yes, "a free place was not given"),
            Err(_) => return n,
        }
    }
    panic!("the store took {} submissions, and has room for {room}", room + 1)
}

pub(super) async fn full_store_keeps_its_entries<S: SubmissionStore>(
    on: &Fixture<S, impl AsyncFn(Duration)>,
    room: usize,
) {
    let held = fill(on, room).await;
    assert!(held > 0, "the store has no room at all");
    assert_eq!(on.state(&place(held)).await, None, "a refused submission left an entry");
    for n in 0..held {
        assert_eq!(on.state(&place(n)).await, Some(EntryState::InFlight), "a full store dropped an entry");
        let finished = on.store.finish(&place(n), &on.lease(1), &done()).await;
        assert!(matches!(finished, Ok(true)), "a full store does not finish a submission");
        assert!(matches!(on.state(&place(n)).await, Some(EntryState::Done(_))), "a full store lost an end");
    }
}

pub(super) async fn freed_room_is_given_again<S: SubmissionStore>(
    on: &Fixture<S, impl AsyncFn(Duration)>,
    room: usize,
) {
    let held = fill(on, room).await;
    assert!(on.finish(&place(0), 1, &Finish::Release).await);
    assert_room(on, 1000, "a released entry made no room").await;
    on.pass(2).await;
    assert!(on.forget(&place(1)).await);
    assert_room(on, 1001, "a forgotten entry made no room").await;
    on.pass(6).await;
    for n in 0..held {
        assert_room(on, 2000 + n, "expired entries made no room").await;
    }
}

async fn assert_room<S: SubmissionStore>(on: &Fixture<S, impl AsyncFn(Duration)>, n: usize, error: &str) {
    let reserved = on.store.reserve(&place(n), &on.lease(1), &fingerprint(1), on.units(4), WhenLost::Unknown).await;
    assert!(matches!(reserved, Ok(Reserved::Yes)), "{error}");
}

pub(super) async fn racers_do_not_exceed_the_room<S: SubmissionStore>(
    on: &Fixture<Arc<S>, impl AsyncFn(Duration)>,
    room: usize,
) {
    let reserved = race(&on.store, |store, n| async move {
        let reserved = try_reserve(&*store, place(n), 1, WhenLost::Unknown).await;
        Ok(usize::from(matches!(reserved, Ok(Reserved::Yes))))
    });
    let held: usize = reserved.await.into_iter().sum();
    assert!(held <= room, "the store took {held} submissions, and has room for {room}");
    let mut kept = 0;
    for n in 0..RACERS {
        kept += usize::from(answer(on.store.state(&place(n))).await.is_some());
    }
    assert_eq!(kept, held, "the entries of a store that racers have filled");
}
