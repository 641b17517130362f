//! The conformance suite rejects stores that break the contract.

use std::panic::AssertUnwindSafe;

use countersign::{clock::ManualClock, store::conformance};
use futures_util::FutureExt;

use super::{
    UNIT,
    faulty::{Fault, Faulty},
};
use crate::rig::NOW;

/// Runs the suite and returns the message of the check that failed, or "" if all passed.
async fn failure(fault: Fault) -> String {
    let new = || {
        let clock = ManualClock::at(NOW);
        (Faulty::new(fault, usize::MAX, clock.clone()), async move |time| clock.advance(time))
    };
    message(conformance::submission_store(new, UNIT)).await
}

async fn bounded_failure(fault: Fault, room: fn(usize) -> usize) -> String {
    let new = |capacity| {
        let clock = ManualClock::at(NOW);
        (Faulty::new(fault, room(capacity), clock.clone()), async move |time| clock.advance(time))
    };
    message(conformance::bounded_submission_store(new, UNIT)).await
}

async fn message(suite: impl Future<Output = ()>) -> String {
    let Err(panic) = AssertUnwindSafe(suite).catch_unwind().await else { return String::new() };
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref().cloned()).expect("a panic with a message")
}

/// Each fault, and the message of the check that finds it.
const FAULTS: &[(Fault, &str)] = &[
    // 1: one lease gets a place.
    (Fault::RacyReservation, "of 64 racers that reserve a free place"),
    (Fault::RunsTwice, "a place was given twice"),
    (Fault::RefusesFree, "a free place was not given"),
    // 2: how leases end.
    (Fault::LeaseTooShort, "a lease ended before its time"),
    (Fault::LeaseTooLong, "the state after a lease has ended"),
    (Fault::DropsLost, "the state after a lease has ended"),
    (Fault::RunsLostAgain, "a lost submission ran again"),
    (Fault::RefusesRenewal, "a running lease was not renewed"),
    (Fault::RenewalDoesNothing, "a renewed lease ended with the first one"),
    (Fault::RenewalAddsTime, "a renewed lease outlived its time"),
    (Fault::RenewsEnded, "an ended lease was renewed"),
    (Fault::RenewsFinished, "a finished lease was renewed"),
    (Fault::RenewalCreates, "a renewal made an entry"),
    (Fault::ReservesEnded, "an ended lease reserved again"),
    // 3: takeovers.
    (Fault::RacyTakeover, "of 64 racers that take over"),
    (Fault::RefusesTakeover, "a lost submission was not taken over"),
    (Fault::TakesOverRunning, "a running submission was taken over"),
    (Fault::TakesOverUnknown, "an unknown submission was taken over"),
    (Fault::TakesOverLateUnknown, "a late unknown submission was taken over"),
    (Fault::TakesOverOthers, "another request took over"),
    (Fault::TakesOverDone, "a finished submission was taken over"),
    (Fault::TakeoverKeepsLease, "the lost lease still holds the entry"),
    (Fault::TakeoverKeepsTime, "a submission that was taken over does not run"),
    // 4: a lease acts on its own entry.
    (Fault::RenewsOthers, "another lease was renewed"),
    (Fault::FinishesOthers, "another lease finished the submission"),
    (Fault::FinishesLostOfOthers, "another lease finished a lost submission"),
    (Fault::ReleasesNext, "another lease finished the submission"),
    // 5: the lease that holds a place reserves it again.
    (Fault::RefusesHolder, "the lease that holds the place was refused"),
    (Fault::RunsFinishedAgain, "a finished lease ran again"),
    // 6: late ends.
    (Fault::RacyFinish, "late ends and takeovers of one submission"),
    (Fault::RefusesLateDone, "a late end was refused: Done"),
    (Fault::RefusesLateUnknown, "a late end was refused: Unknown"),
    (Fault::RefusesLateRelease, "a late end was refused: Release"),
    (Fault::FinishesSettled, "a second end changed the first"),
    (Fault::FinishesSettledUnknown, "a late end changed decision 3"),
    (Fault::FinishesForgotten, "a released lease finished a submission"),
    // 7: done is final.
    (Fault::RacySettling, "decisions on one unknown submission"),
    (Fault::FinishesTwice, "a second end changed the first"),
    (Fault::SettlesRunning, "a running submission was settled"),
    (Fault::SettlesDone, "a finished submission was settled"),
    (Fault::SettlesNothing, "an unknown submission was not settled"),
    (Fault::SettlesNoLost, "an unknown submission was not settled"),
    (Fault::SettleKeepsReleased, "after an unknown submission was settled"),
    (Fault::SettleCreates, "settling made an entry"),
    (Fault::ForgetsRunning, "a running submission was forgotten"),
    (Fault::ForgetsNoDone, "a finished submission was not forgotten"),
    (Fault::ForgetsNoUnknown, "submission 1 was not forgotten"),
    (Fault::ForgetKeeps, "a forgotten submission left an entry"),
    (Fault::ForgetsAbsent, "nothing was forgotten"),
    (Fault::ReleaseKeeps, "a released submission left an entry"),
    (Fault::ReleasesTwice, "a released place has an entry without a racer"),
    // 8: when entries expire.
    (Fault::CountsFromReservation, "a reserved entry expires in"),
    (Fault::RenewalKeepsExpiry, "a lost entry expired before its time"),
    (Fault::FinishKeepsExpiry, "a finished entry expires in"),
    (Fault::LateFinishKeepsExpiry, "an entry that ended late expires in"),
    (Fault::ExpiresRunning, "a running entry expired"),
    (Fault::ExpiresLostEarly, "a lost entry expired before its time"),
    (Fault::ExpiresFinishedEarly, "an answer expired before its time"),
    (Fault::KeepsLost, "a lost entry outlived its time"),
    (Fault::KeepsFinished, "a finished entry outlived its time"),
    (Fault::FinishesExpired, "an expired entry was finished"),
    (Fault::ReservesNoExpired, "an expired entry holds its place"),
    (Fault::RepeatProlongsLease, "a repeat prolonged a lease"),
    (Fault::RepeatProlongsOwnLease, "a reservation prolonged its own lease"),
    (Fault::RepeatProlongsLost, "a repeat prolonged a lost entry"),
    (Fault::RepeatProlongsFinished, "a repeat prolonged a finished entry"),
    // 9: places are independent.
    (Fault::MixesPlaces, "a place was taken by that of another submission"),
    (Fault::EndsOthers, "the end of another submission ended this one"),
    // What an entry contains.
    (Fault::FingerprintOfLast, "the fingerprint of a lost submission"),
    (Fault::LosesLocation, "an answer changed in the store"),
    (Fault::LosesReplay, "an answer changed in the store"),
    (Fault::LosesSecondValue, "an answer changed in the store"),
    (Fault::LosesBytesOfHeaders, "an answer changed in the store"),
    (Fault::LosesBytesOfBody, "an answer changed in the store"),
    (Fault::CutsLongBody, "an answer changed in the store"),
    (Fault::EmptyBodyIsNone, "an answer changed in the store"),
    (Fault::RepeatGetsNoReplay, "a repeat gets another answer"),
    // 12: all methods end in bounded time.
    (Fault::Hangs, "a call did not end in 10s"),
    (Fault::Fails, "the store failed"),
];

/// Faults of full stores.
const BOUNDED_FAULTS: &[(Fault, &str)] = &[
    (Fault::DropsEntry, "a full store dropped an entry"),
    (Fault::DropsFinished, "a full store lost an end"),
    (Fault::RefusesEnds, "a full store does not finish a submission"),
    (Fault::StoresRefused, "a refused submission left an entry"),
    (Fault::KeepsReleased, "a released entry made no room"),
    (Fault::KeepsForgotten, "a forgotten entry made no room"),
    (Fault::KeepsExpired, "expired entries made no room"),
    (Fault::RacyRoom, "and has room for 40"),
];

/// Runs on one thread. `yield_now` determines the order of the tasks, so every run has the races. The clock of the
/// runtime advances when all tasks wait, so a deadline takes no time.
#[tokio::test(start_paused = true)]
async fn broken_submission_stores_fail_the_suite() {
    assert_eq!(failure(Fault::None).await, "");
    let mut wrong = Vec::new();
    for (fault, message) in FAULTS {
        let failure = failure(*fault).await;
        if !failure.contains(message) {
            wrong.push(format!("{fault:?}: expected {message:?}, found {failure:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(start_paused = true)]
async fn broken_bounded_submission_stores_fail_the_suite() {
    assert_eq!(bounded_failure(Fault::None, |capacity| capacity).await, "");
    let too_large = bounded_failure(Fault::None, |capacity| capacity + 1).await;
    assert!(too_large.contains("has room for 40"), "{too_large:?}");
    let mut wrong = Vec::new();
    for (fault, message) in BOUNDED_FAULTS {
        let failure = bounded_failure(*fault, |capacity| capacity).await;
        if !failure.contains(message) {
            wrong.push(format!("{fault:?}: expected {message:?}, found {failure:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
