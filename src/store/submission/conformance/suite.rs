//! The list of the conformance tests.

use std::{
    panic::{AssertUnwindSafe, resume_unwind},
    sync::Arc,
    time::Duration,
};

use futures_util::future::{FutureExt, join_all};

use super::{bounded, expiry, finishes, fixtures::Fixture, leases, races, reservations};
use crate::store::submission::contract::SubmissionStore;

/// Tests a submission store against its [contract](SubmissionStore#contract).
///
/// `new` creates an empty store each time, with a closure that lets time pass for this store: it advances a manual clock, or
/// sleeps. `unit` is the length of a step in time. A store with a real clock needs a unit that is longer than most pauses of
/// the machine, for example half a second. A test that failed after a longer pause runs again, three times in all. The tests
/// that need time run at the same time, and take eight units in all.
///
/// ```
/// # use std::time::Duration;
/// # use countersign::{clock::ManualClock, store::{MemorySubmissionStore, conformance}};
/// # #[tokio::main]
/// # async fn main() {
/// let new = || {
///     let clock = ManualClock::at(1_700_000_000);
///     (MemorySubmissionStore::new().with_clock(clock.clone()), async move |time| clock.advance(time))
/// };
/// conformance::submission_store(new, Duration::from_secs(20)).await;
/// # }
/// ```
///
/// Run it on a multi-threaded tokio runtime. On a single thread, it cannot find races.
///
/// # Panics
///
/// The store breaks the contract.
pub async fn submission_store<S: SubmissionStore, P: AsyncFn(Duration)>(new: impl Fn() -> (S, P), unit: Duration) {
    let on = || Fixture::new(new(), unit);
    let shared = || {
        let (store, pass) = new();
        Fixture::new((Arc::new(store), pass), unit)
    };
    // The basic tests are first, so that a broken store fails a test of what it breaks.
    join_all([
        check(&on, reservations::one_lease_gets_a_place).boxed_local(),
        check(&on, reservations::places_are_separate).boxed_local(),
        check(&on, leases::lease_ends_after_its_time).boxed_local(),
        check(&on, reservations::holding_lease_reserves_again).boxed_local(),
        check(&on, leases::renewed_lease_lasts_longer).boxed_local(),
        check(&on, leases::ended_lease_is_not_renewed).boxed_local(),
        check(&on, leases::lease_acts_on_its_own_entry).boxed_local(),
        check(&on, finishes::answers_are_kept_byte_for_byte).boxed_local(),
        check(&on, finishes::done_is_final).boxed_local(),
        check(&on, finishes::release_frees_the_place).boxed_local(),
        check(&on, finishes::only_unknown_submissions_are_settled).boxed_local(),
        check(&on, finishes::all_but_running_submissions_are_forgotten).boxed_local(),
        check(&on, finishes::late_finish_ends_its_lost_submission).boxed_local(),
        check(&on, leases::lost_submission_is_taken_over).boxed_local(),
        check(&on, leases::unknown_submission_is_not_taken_over).boxed_local(),
        check(&on, reservations::other_fingerprint_gets_the_entry).boxed_local(),
        check(&on, finishes::late_finish_changes_no_later_decision).boxed_local(),
        check(&on, expiry::lost_entry_outlives_its_lease_by_the_ttl).boxed_local(),
        check(&on, expiry::finished_entry_expires_after_the_ttl).boxed_local(),
        check(&on, expiry::ttl_may_be_shorter_than_the_lease).boxed_local(),
        check(&on, expiry::late_end_counts_from_itself).boxed_local(),
        check(&on, reservations::repeats_prolong_nothing).boxed_local(),
    ])
    .await;
    // One after the other, because each keeps all threads busy.
    check(&shared, races::one_racer_runs).await;
    check(&shared, races::one_racer_takes_over).await;
    check(&shared, races::late_finish_or_takeover).await;
    check(&shared, races::one_decision_counts).await;
    check(&shared, races::released_place_goes_to_one_racer).await;
}

/// Tests the behavior of a full submission store. `new` creates an empty store with room for this many submissions, with a
/// closure that lets time pass as for [`submission_store`].
///
/// # Panics
///
/// The store breaks the contract.
pub async fn bounded_submission_store<S: SubmissionStore, P: AsyncFn(Duration)>(
    new: impl Fn(usize) -> (S, P),
    unit: Duration,
) {
    const ROOM: usize = 40;
    let on = || Fixture::new(new(ROOM), unit);
    let shared = || {
        let (store, pass) = new(ROOM);
        Fixture::new((Arc::new(store), pass), unit)
    };
    check(&on, async |on: &Fixture<S, P>| bounded::full_store_keeps_its_entries(on, ROOM).await).await;
    check(&on, async |on: &Fixture<S, P>| bounded::freed_room_is_given_again(on, ROOM).await).await;
    check(&shared, async |on: &Fixture<Arc<S>, P>| bounded::racers_do_not_exceed_the_room(on, ROOM).await).await;
}

/// Runs a test. If it failed after a pause of the machine, it runs again with a new store: a lease may have ended before the
/// test expected it.
async fn check<S: SubmissionStore, P: AsyncFn(Duration)>(
    on: &impl Fn() -> Fixture<S, P>,
    test: impl AsyncFn(&Fixture<S, P>),
) {
    const RETRIES: usize = 2;
    for _ in 0..RETRIES {
        let on = on();
        match AssertUnwindSafe(test(&on)).catch_unwind().await {
            Ok(()) => return,
            Err(_) if on.is_late() => {}
            Err(panic) => resume_unwind(panic),
        }
    }
    test(&on()).await;
}
