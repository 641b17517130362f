//! Points 2 to 4 of the contract: how leases end.

use std::time::Duration;

use super::{
    fixtures::{Fixture, done, place},
    reservations::taken,
};
use crate::store::submission::{
    contract::SubmissionStore,
    entry::{EntryState, Finish, Reserved},
};

pub(super) async fn lease_ends_after_its_time<S: SubmissionStore>(on: &Fixture<S, impl AsyncFn(Duration)>) {
    let at = place(1);
    assert_eq!(on.reserve(&at, 1).await, Reserved::Yes);
    on.pass(1).await;
    assert_eq!(on.state(&at).await, Some(EntryState::InFlight), "a lease ended before its time");
    on.pass(1).await;
    assert_eq!(on.state(&at).await, Some(EntryState::Unknown), "the state after a lease has ended");
    let entry = taken(on.reserve(&at, 2).await, "a lost submission ran again");
    assert_eq!(entry.state, EntryState::Unknown, "the entry after a lease has ended");
}

pub(super) async fn renewed_lease_lasts_longer<S: SubmissionStore>(on: &Fixture<S, impl AsyncFn(Duration)>) {
    let at = place(1);
    assert_eq!(on.reserve(&at, 1).await, Reserved::Yes);
    on.pass(1).await;
    assert!(on.renew(&at, 1).await, "a running lease was not renewed");
    on.pass(1).await;
    assert_eq!(on.state(&at).await, Some(EntryState::InFlight), "a renewed lease ended with the first one");
    on.pass(1).await;
    assert_eq!(on.state(&at).await, Some(EntryState::Unknown), "a renewed lease outlived its time");
}

pub(super) async fn ended_lease_is_not_renewed<S: SubmissionStore>(on: &Fixture<S, impl AsyncFn(Duration)>) {
    let at = place(1);
    on.lose(&at, 1).await;
    assert!(!on.renew(&at, 1).await, "an ended lease was renewed");
    assert_eq!(on.state(&at).await, Some(EntryState::Unknown), "an ended lease came back to life");
    assert!(!on.renew(&place(2), 1).await, "a lease of nothing was renewed");
    assert_eq!(on.state(&place(2)).await, None, "a renewal made an entry");
    for end in [done(), Finish::Unknown] {
        let at = place(if end == Finish::Unknown { 3 } else { 4 });
        assert_eq!(on.reserve(&at, 1).await, Reserved::Yes);
        assert!(on.finish(&at, 1, &end).await);
        assert!(!on.renew(&at, 1).await, "a finished lease was renewed");
    }
}

pub(super) async fn lease_acts_on_its_own_entry<S: SubmissionStore>(on: &Fixture<S, impl AsyncFn(Duration)>) {
    let at = place(1);
    assert_eq!(on.reserve(&at, 1).await, Reserved::Yes);
    assert!(!on.renew(&at, 2).await, "another lease was renewed");
    for end in [done(), Finish::Unknown, Finish::Release] {
        assert!(!on.finish(&at, 2, &end).await, "another lease finished the submission");
        assert_eq!(on.state(&at).await, Some(EntryState::InFlight), "another lease finished the submission");
    }
    on.pass(2).await;
    assert!(!on.finish(&at, 2, &done()).await, "another lease finished a lost submission");
    assert_eq!(on.state(&at).await, Some(EntryState::Unknown));
}

pub(super) async fn lost_submission_is_taken_over<S: SubmissionStore>(on: &Fixture<S, impl AsyncFn(Duration)>) {
    let at = place(1);
    on.lose(&at, 1).await;
    assert_eq!(on.take_over(&at, 2).await, Reserved::Yes, "a lost submission was not taken over");
    assert_eq!(on.state(&at).await, Some(EntryState::InFlight), "a submission that was taken over does not run");
    taken(on.take_over(&at, 3).await, "a submission was taken over twice");
    assert!(!on.renew(&at, 1).await && !on.finish(&at, 1, &done()).await, "the lost lease still holds the entry");
    assert!(on.renew(&at, 2).await && on.finish(&at, 2, &done()).await, "the new lease does not hold the entry");
}

/// A submission that was finished as unknown is not lost.
pub(super) async fn unknown_submission_is_not_taken_over<S: SubmissionStore>(on: &Fixture<S, impl AsyncFn(Duration)>) {
    let (in_time, late) = (place(1), place(2));
    assert_eq!(on.reserve(&in_time, 1).await, Reserved::Yes);
    assert_eq!(on.reserve(&late, 1).await, Reserved::Yes);
    assert!(on.finish(&in_time, 1, &Finish::Unknown).await);
    taken(on.take_over(&in_time, 2).await, "an unknown submission was taken over");
    on.pass(2).await;
    taken(on.take_over(&in_time, 2).await, "an unknown submission was taken over later");
    assert!(on.finish(&late, 1, &Finish::Unknown).await);
    let entry = taken(on.take_over(&late, 2).await, "a late unknown submission was taken over");
    assert_eq!(entry.state, EntryState::Unknown);
}
