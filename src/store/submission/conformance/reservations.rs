//! Points 1, 5, 8 and 9 of the contract: who gets a place.

use std::time::Duration;

use super::fixtures::{Fixture, done, fingerprint, place, place_of};
use crate::store::submission::{
    contract::SubmissionStore,
    entry::{Entry, EntryState, Finish, Reserved, WhenLost},
};

pub(super) async fn one_lease_gets_a_place<S: SubmissionStore>(on: &Fixture<S, impl AsyncFn(Duration)>) {
    let at = place(1);
    assert_eq!(on.state(&at).await, None, "an empty store has an entry");
    assert_eq!(on.reserve(&at, 1).await, Reserved::Yes, "a free place was not given");
    for id in [2, 3] {
        let entry = taken(on.reserve(&at, id).await, "a place was given twice");
        assert_eq!(
            (entry.state, entry.fingerprint),
            (EntryState::InFlight, fingerprint(1)),
            "the entry of a running one"
        );
        let entry = taken(on.take_over(&at, id).await, "a running submission was taken over");
        assert_eq!(entry.state, EntryState::InFlight, "the entry of a running submission");
    }
    assert_eq!(on.state(&at).await, Some(EntryState::InFlight));
}

pub(super) async fn holding_lease_reserves_again<S: SubmissionStore>(on: &Fixture<S, impl AsyncFn(Duration)>) {
    let at = place(1);
    assert_eq!(on.reserve(&at, 1).await, Reserved::Yes);
    assert_eq!(on.reserve(&at, 1).await, Reserved::Yes, "the lease that holds the place was refused");
    assert!(on.finish(&at, 1, &done()).await);
    let entry = taken(on.reserve(&at, 1).await, "a finished lease ran again");
    assert!(matches!(entry.state, EntryState::Done(_)), "the entry of a finished submission");
    let at = place(2);
    on.lose(&at, 1).await;
    let entry = taken(on.reserve(&at, 1).await, "an ended lease reserved again");
    assert_eq!(entry.state, EntryState::Unknown, "the entry of an ended lease");
}

pub(super) async fn other_fingerprint_gets_the_entry<S: SubmissionStore>(on: &Fixture<S, impl AsyncFn(Duration)>) {
    let at = place(1);
    on.lose(&at, 1).await;
    let entry = taken(on.reserve_as(&at, 2, fingerprint(2), WhenLost::TakeOver).await, "another request took over");
    assert_eq!(entry.fingerprint, fingerprint(1), "the fingerprint of a lost submission");
    assert_eq!(entry.state, EntryState::Unknown, "the state of a lost submission");
    assert!(on.settle(&at, &done()).await);
    let entry = taken(on.reserve_as(&at, 2, fingerprint(2), WhenLost::TakeOver).await, "another request ran");
    assert_eq!(entry.fingerprint, fingerprint(1), "the fingerprint of a finished submission");
}

pub(super) async fn places_are_separate<S: SubmissionStore>(on: &Fixture<S, impl AsyncFn(Duration)>) {
    const ENDED: &str = "the end of another submission ended this one";
    let lease = |n: usize| n as u8 + 1;
    for n in 0..20 {
        let reserved = on.reserve(&place(n), lease(n)).await;
        assert_eq!(reserved, Reserved::Yes, "a place was taken by that of another submission");
    }
    assert!(on.finish(&place(3), lease(3), &Finish::Release).await, "{ENDED}");
    assert!(on.finish(&place(4), lease(4), &done()).await, "{ENDED}");
    assert_eq!(on.state(&place(3)).await, None, "a released submission left an entry");
    assert_eq!(on.state(&place_of("other", 100)).await, None, "a place has the entry of another app");
    for n in (0..20).filter(|n| ![3, 4].contains(n)) {
        assert_eq!(on.state(&place(n)).await, Some(EntryState::InFlight), "{ENDED}");
    }
}

pub(super) async fn repeats_prolong_nothing<S: SubmissionStore>(on: &Fixture<S, impl AsyncFn(Duration)>) {
    let (running, own, finished) = (place(1), place(2), place(3));
    assert_eq!(on.reserve(&running, 1).await, Reserved::Yes);
    assert_eq!(on.reserve(&own, 1).await, Reserved::Yes);
    assert_eq!(on.reserve(&finished, 1).await, Reserved::Yes);
    assert!(on.finish(&finished, 1, &done()).await);
    on.pass(1).await;
    taken(on.reserve(&running, 2).await, "a repeat ran");
    taken(on.reserve(&finished, 2).await, "a repeat ran");
    assert_eq!(on.reserve(&own, 1).await, Reserved::Yes, "the lease that holds the place was refused later");
    on.pass(1).await;
    assert_eq!(on.state(&running).await, Some(EntryState::Unknown), "a repeat prolonged a lease");
    assert_eq!(on.state(&own).await, Some(EntryState::Unknown), "a reservation prolonged its own lease");
    on.pass(2).await;
    taken(on.reserve(&running, 2).await, "a repeat ran");
    assert_eq!(on.state(&finished).await, None, "a repeat prolonged a finished entry");
    on.pass(2).await;
    assert_eq!(on.state(&running).await, None, "a repeat prolonged a lost entry");
}

/// The entry that a place has. The check fails with `error` if the place was given.
pub(super) fn taken(reserved: Reserved, error: &str) -> Entry {
    match reserved {
        Reserved::No(entry) => entry,
        Reserved::Yes => panic!("{error}"),
    }
}
