//! Points 6 and 7 of the contract: how submissions end.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::{
    fixtures::{Fixture, done, fingerprint, place, stored_answer},
    reservations::taken,
};
use crate::store::submission::{
    contract::SubmissionStore,
    entry::{EntryState, Finish, Reserved, StoredAnswer, WhenLost},
};

pub(super) async fn answers_are_kept_byte_for_byte<S: SubmissionStore>(on: &Fixture<S, impl AsyncFn(Duration)>) {
    let long = StoredAnswer::new(StatusCode::OK, None).with_replay(HeaderMap::new(), Bytes::from(vec![0xfe; 65_536]));
    let empty = StoredAnswer::new(StatusCode::NO_CONTENT, None).with_replay(HeaderMap::new(), Bytes::new());
    let unstored = StoredAnswer::new(StatusCode::SEE_OTHER, stored_answer().location().cloned());
    for (n, answer) in [stored_answer(), long, empty, unstored].into_iter().enumerate() {
        let at = place(n);
        assert_eq!(on.reserve(&at, 1).await, Reserved::Yes);
        assert!(on.finish(&at, 1, &Finish::Done(answer.clone())).await, "a running submission was not finished");
        let state = EntryState::Done(answer);
        assert_eq!(on.state(&at).await, Some(state.clone()), "an answer changed in the store");
        let entry = taken(on.reserve(&at, 2).await, "a finished submission ran again");
        assert_eq!((entry.state, entry.fingerprint), (state, fingerprint(1)), "a repeat gets another answer");
    }
}

pub(super) async fn done_is_final<S: SubmissionStore>(on: &Fixture<S, impl AsyncFn(Duration)>) {
    let at = place(1);
    assert_eq!(on.reserve(&at, 1).await, Reserved::Yes);
    assert!(on.finish(&at, 1, &done()).await);
    for end in [Finish::Unknown, Finish::Release, Finish::Done(StoredAnswer::new(StatusCode::OK, None))] {
        // The answer may be either: the end was reported already.
        on.finish(&at, 1, &end).await;
        assert_eq!(on.state(&at).await, Some(EntryState::Done(stored_answer())), "a second end changed the first");
        assert!(!on.settle(&at, &end).await, "a finished submission was settled");
        taken(on.take_over(&at, 2).await, "a finished submission was taken over");
        assert_eq!(on.state(&at).await, Some(EntryState::Done(stored_answer())), "a finished submission changed");
    }
    on.pass(2).await;
    assert_eq!(on.state(&at).await, Some(EntryState::Done(stored_answer())), "a finished submission changed later");
    assert!(on.forget(&at).await, "a finished submission was not forgotten");
    assert_eq!(on.state(&at).await, None, "a forgotten submission left an entry");
}

pub(super) async fn release_frees_the_place<S: SubmissionStore>(on: &Fixture<S, impl AsyncFn(Duration)>) {
    let at = place(1);
    assert_eq!(on.reserve(&at, 1).await, Reserved::Yes);
    assert!(on.finish(&at, 1, &Finish::Release).await);
    assert_eq!(on.state(&at).await, None, "a released submission left an entry");
    assert!(!on.finish(&at, 1, &done()).await, "a released lease finished a submission");
    assert_eq!(on.reserve_as(&at, 2, fingerprint(2), WhenLost::Unknown).await, Reserved::Yes, "the place is not free");
    assert!(!on.finish(&at, 1, &Finish::Release).await, "a released lease released the next one");
    assert_eq!(on.state(&at).await, Some(EntryState::InFlight));
}

pub(super) async fn late_finish_ends_its_lost_submission<S: SubmissionStore>(on: &Fixture<S, impl AsyncFn(Duration)>) {
    let ends = [
        (done(), Some(EntryState::Done(stored_answer()))),
        (Finish::Unknown, Some(EntryState::Unknown)),
        (Finish::Release, None),
    ];
    for n in 0..ends.len() {
        assert_eq!(on.reserve(&place(n), 1).await, Reserved::Yes);
    }
    on.pass(2).await;
    for (n, (end, state)) in ends.into_iter().enumerate() {
        assert!(on.finish(&place(n), 1, &end).await, "a late end was refused: {end:?}");
        assert_eq!(on.state(&place(n)).await, state, "after a late end: {end:?}");
    }
}

/// Once another call has decided, the late end of a lost lease changes nothing.
pub(super) async fn late_finish_changes_no_later_decision<S: SubmissionStore>(on: &Fixture<S, impl AsyncFn(Duration)>) {
    for n in 0..4 {
        assert_eq!(on.reserve(&place(n), 1).await, Reserved::Yes);
    }
    on.pass(2).await;
    assert_eq!(on.take_over(&place(0), 2).await, Reserved::Yes);
    assert!(on.settle(&place(1), &done()).await);
    assert!(on.forget(&place(2)).await);
    assert!(on.settle(&place(3), &Finish::Unknown).await);
    let decided =
        [Some(EntryState::InFlight), Some(EntryState::Done(stored_answer())), None, Some(EntryState::Unknown)];
    let other = Finish::Done(StoredAnswer::new(StatusCode::OK, None));
    for (n, state) in decided.into_iter().enumerate() {
        for end in [&other, &Finish::Release] {
            assert!(!on.finish(&place(n), 1, end).await, "a late end changed decision {n}");
            assert_eq!(on.state(&place(n)).await, state, "a late end changed decision {n}");
        }
    }
}

pub(super) async fn only_unknown_submissions_are_settled<S: SubmissionStore>(on: &Fixture<S, impl AsyncFn(Duration)>) {
    assert!(!on.settle(&place(9), &done()).await, "nothing was settled");
    assert_eq!(on.state(&place(9)).await, None, "settling made an entry");
    for n in 0..4 {
        assert_eq!(on.reserve(&place(n), 1).await, Reserved::Yes);
        assert!(!on.settle(&place(n), &done()).await, "a running submission was settled");
        assert_eq!(on.state(&place(n)).await, Some(EntryState::InFlight), "a running submission was settled");
    }
    assert!(on.finish(&place(0), 1, &Finish::Unknown).await);
    assert!(on.finish(&place(1), 1, &Finish::Unknown).await);
    on.pass(2).await;
    for (n, end, state) in [
        (0, done(), Some(EntryState::Done(stored_answer()))),
        (1, Finish::Release, None),
        (2, done(), Some(EntryState::Done(stored_answer()))),
        (3, Finish::Release, None),
    ] {
        assert!(on.settle(&place(n), &end).await, "an unknown submission was not settled");
        assert_eq!(on.state(&place(n)).await, state, "after an unknown submission was settled");
    }
}

pub(super) async fn all_but_running_submissions_are_forgotten<S: SubmissionStore>(
    on: &Fixture<S, impl AsyncFn(Duration)>,
) {
    assert!(!on.forget(&place(9)).await, "nothing was forgotten");
    for n in 0..3 {
        assert_eq!(on.reserve(&place(n), 1).await, Reserved::Yes);
        assert!(!on.forget(&place(n)).await, "a running submission was forgotten");
        assert_eq!(on.state(&place(n)).await, Some(EntryState::InFlight), "a running submission was forgotten");
    }
    assert!(on.finish(&place(0), 1, &done()).await);
    assert!(on.finish(&place(1), 1, &Finish::Unknown).await);
    on.pass(2).await;
    for n in 0..3 {
        assert!(on.forget(&place(n)).await, "submission {n} was not forgotten");
        assert_eq!(on.reserve(&place(n), 2).await, Reserved::Yes, "a forgotten submission does not run again");
    }
}
