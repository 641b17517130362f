//! Point 8 of the contract: when entries expire.

use std::time::Duration;

use super::fixtures::{Fixture, answer, done, fingerprint, lease, place, stored_answer};
use crate::store::submission::{
    contract::SubmissionStore,
    entry::{EntryState, Finish, Reserved, SubmissionRef, WhenLost},
};

pub(super) async fn lost_entry_outlives_its_lease_by_the_ttl<S: SubmissionStore>(
    on: &Fixture<S, impl AsyncFn(Duration)>,
) {
    let at = place(1);
    assert_eq!(on.reserve(&at, 1).await, Reserved::Yes);
    assert_expires_in(on, &at, 6, "a reserved entry").await;
    on.pass(1).await;
    assert!(on.renew(&at, 1).await);
    assert_expires_in(on, &at, 6, "a reserved entry").await;
    on.pass(5).await;
    assert_eq!(on.state(&at).await, Some(EntryState::Unknown), "a lost entry expired before its time");
    assert_expires_in(on, &at, 1, "a reserved entry").await;
    on.pass(1).await;
    assert_eq!(on.state(&at).await, None, "a lost entry outlived its time");
    assert!(!on.finish(&at, 1, &done()).await, "an expired entry was finished");
    assert_eq!(on.reserve(&at, 2).await, Reserved::Yes, "an expired entry holds its place");
}

pub(super) async fn finished_entry_expires_after_the_ttl<S: SubmissionStore>(on: &Fixture<S, impl AsyncFn(Duration)>) {
    for (n, end) in [done(), Finish::Unknown].into_iter().enumerate() {
        assert_eq!(on.reserve(&place(n), 1).await, Reserved::Yes);
        assert!(on.finish(&place(n), 1, &end).await);
        assert_expires_in(on, &place(n), 4, "a finished entry").await;
    }
    on.pass(3).await;
    assert_eq!(on.state(&place(0)).await, Some(EntryState::Done(stored_answer())), "an answer expired before its time");
    assert_eq!(on.state(&place(1)).await, Some(EntryState::Unknown), "an unknown entry expired before its time");
    on.pass(1).await;
    for n in 0..2 {
        assert_eq!(on.state(&place(n)).await, None, "a finished entry outlived its time");
        assert_eq!(on.reserve(&place(n), 2).await, Reserved::Yes, "an expired entry holds its place");
    }
}

pub(super) async fn late_end_counts_from_itself<S: SubmissionStore>(on: &Fixture<S, impl AsyncFn(Duration)>) {
    for n in 0..2 {
        assert_eq!(on.reserve(&place(n), 1).await, Reserved::Yes);
    }
    on.pass(4).await;
    assert!(on.finish(&place(0), 1, &done()).await);
    assert!(on.settle(&place(1), &done()).await);
    for n in 0..2 {
        assert_expires_in(on, &place(n), 4, "an entry that ended late").await;
    }
    on.pass(3).await;
    for n in 0..2 {
        assert!(on.state(&place(n)).await.is_some(), "an entry expired with its lease, although it ended later");
    }
}

pub(super) async fn ttl_may_be_shorter_than_the_lease<S: SubmissionStore>(on: &Fixture<S, impl AsyncFn(Duration)>) {
    let (at, lease) = (place(1), lease(1, on.units(3)));
    let (fingerprint, ttl) = (fingerprint(1), on.units(1));
    let reserve = on.store.reserve(&at, &lease, &fingerprint, ttl, WhenLost::Unknown);
    assert_eq!(answer(reserve).await, Reserved::Yes);
    on.pass(2).await;
    assert_eq!(on.state(&at).await, Some(EntryState::InFlight), "a running entry expired");
    on.pass(1).await;
    assert_eq!(on.state(&at).await, Some(EntryState::Unknown), "a lost entry expired with its lease");
    on.pass(1).await;
    assert_eq!(on.state(&at).await, None, "a lost entry outlived its time");
}

/// Checks the time that an entry has left, to within a unit.
async fn assert_expires_in<S: SubmissionStore>(
    on: &Fixture<S, impl AsyncFn(Duration)>,
    at: &SubmissionRef,
    units: u32,
    name: &str,
) {
    let left = on.entry(at).await.map(|entry| entry.expires_in);
    let expected = on.units(units - 1)..=on.units(units);
    assert!(left.is_some_and(|left| expected.contains(&left)), "{name} expires in {left:?}, expected {expected:?}");
}
