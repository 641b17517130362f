//! Concurrent calls for one place.

use std::{sync::Arc, time::Duration};

use super::fixtures::{Fixture, RACERS, done, place, race, stored_answer, try_reserve};
use crate::store::submission::{
    contract::SubmissionStore,
    entry::{EntryState, Finish, Lease, Reserved, WhenLost},
};

/// The lease that reserved first. No racer has its id.
const FIRST: Lease = Lease { id: [200; 16], lasts: Duration::from_secs(600) };

pub(super) async fn one_racer_runs<S: SubmissionStore>(on: &Fixture<Arc<S>, impl AsyncFn(Duration)>) {
    assert_eq!(reserve_at_once(&on.store, WhenLost::TakeOver).await, 1, "of 64 racers that reserve a free place");
}

pub(super) async fn one_racer_takes_over<S: SubmissionStore>(on: &Fixture<Arc<S>, impl AsyncFn(Duration)>) {
    on.lose(&place(1), 200).await;
    assert_eq!(reserve_at_once(&on.store, WhenLost::Unknown).await, 0, "of 64 racers, without a takeover");
    assert_eq!(reserve_at_once(&on.store, WhenLost::TakeOver).await, 1, "of 64 racers that take over");
}

/// The number of racers that get the place.
async fn reserve_at_once<S: SubmissionStore>(store: &Arc<S>, when_lost: WhenLost) -> usize {
    let reserved = race(store, move |store, n| async move { try_reserve(&*store, place(1), n, when_lost).await });
    reserved.await.into_iter().filter(|reserved| *reserved == Reserved::Yes).count()
}

/// Either the late end counts, or the takeover.
pub(super) async fn late_finish_or_takeover<S: SubmissionStore>(on: &Fixture<Arc<S>, impl AsyncFn(Duration)>) {
    on.lose(&place(1), 200).await;
    let won = race(&on.store, |store, n| async move {
        if n == RACERS - 1 {
            return store.finish(&place(1), &FIRST, &done()).await.map(usize::from);
        }
        let reserved = try_reserve(&*store, place(1), n, WhenLost::TakeOver).await;
        reserved.map(|reserved| usize::from(reserved == Reserved::Yes))
    });
    assert_eq!(won.await.into_iter().sum::<usize>(), 1, "late ends and takeovers of one submission");
}

/// Of all who settle and the late end, one decides.
pub(super) async fn one_decision_counts<S: SubmissionStore>(on: &Fixture<Arc<S>, impl AsyncFn(Duration)>) {
    on.lose(&place(1), 200).await;
    let won = race(&on.store, |store, n| async move {
        match n % 2 {
            0 => store.finish(&place(1), &FIRST, &done()).await,
            _ => store.settle(&place(1), &done()).await,
        }
    });
    assert_eq!(won.await.into_iter().filter(|won| *won).count(), 1, "decisions on one unknown submission");
    assert_eq!(on.state(&place(1)).await, Some(EntryState::Done(stored_answer())));
}

/// A release and a reservation by others: at most one runs at any time, so the last one to run holds the place.
pub(super) async fn released_place_goes_to_one_racer<S: SubmissionStore>(on: &Fixture<Arc<S>, impl AsyncFn(Duration)>) {
    assert_eq!(on.reserve(&place(1), 200).await, Reserved::Yes);
    let won = race(&on.store, |store, n| async move {
        if n == 0 {
            return store.finish(&place(1), &FIRST, &Finish::Release).await.map(|_| 0);
        }
        let reserved = try_reserve(&*store, place(1), n, WhenLost::Unknown).await;
        reserved.map(|reserved| usize::from(reserved == Reserved::Yes))
    });
    let won: usize = won.await.into_iter().sum();
    assert!(won <= 1, "{won} racers got a place that was released once");
    assert_eq!(on.state(&place(1)).await.is_some(), won == 1, "a released place has an entry without a racer");
}
