//! The list of the conformance tests.

use std::{sync::Arc, time::Duration};

use futures_util::future::{FutureExt, join_all};

use super::{bounded, expiry, finishes, fixtures::Fixture, leases, races, reservations};
use crate::store::submission::contract::SubmissionStore;

/// Tests a submission store against its [contract](SubmissionStore#contract).
///
/// `new` creates an empty store each time, with a closure that lets time pass for this store: it advances a manual clock, or
/// sleeps. `unit` is the length of a step in time. A store with a real clock needs a unit that is longer than any pause of
/// the machine, for example half a second. All tests run at the same time, and take eight units in all.
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
    join_all([
        async { reservations::one_lease_gets_a_place(&on()).await }.boxed_local(),
        async { leases::lease_ends_after_its_time(&on()).await }.boxed_local(),
        async { reservations::holding_lease_reserves_again(&on()).await }.boxed_local(),
        async { reservations::other_fingerprint_gets_the_entry(&on()).await }.boxed_local(),
        async { reservations::places_are_separate(&on()).await }.boxed_local(),
        async { reservations::repeats_prolong_nothing(&on()).await }.boxed_local(),
        async { leases::renewed_lease_lasts_longer(&on()).await }.boxed_local(),
        async { leases::ended_lease_is_not_renewed(&on()).await }.boxed_local(),
        async { leases::lease_acts_on_its_own_entry(&on()).await }.boxed_local(),
        async { leases::lost_submission_is_taken_over(&on()).await }.boxed_local(),
        async { leases::unknown_submission_is_not_taken_over(&on()).await }.boxed_local(),
        async { finishes::answers_are_kept_byte_for_byte(&on()).await }.boxed_local(),
        async { finishes::done_is_final(&on()).await }.boxed_local(),
        async { finishes::release_frees_the_place(&on()).await }.boxed_local(),
        async { finishes::late_finish_ends_its_lost_submission(&on()).await }.boxed_local(),
        async { finishes::late_finish_changes_no_later_decision(&on()).await }.boxed_local(),
        async { finishes::only_unknown_submissions_are_settled(&on()).await }.boxed_local(),
        async { finishes::all_but_running_submissions_are_forgotten(&on()).await }.boxed_local(),
        async { expiry::lost_entry_outlives_its_lease_by_the_ttl(&on()).await }.boxed_local(),
        async { expiry::finished_entry_expires_after_the_ttl(&on()).await }.boxed_local(),
        async { expiry::late_end_counts_from_itself(&on()).await }.boxed_local(),
        async { expiry::ttl_may_be_shorter_than_the_lease(&on()).await }.boxed_local(),
    ])
    .await;
    // One after the other, because each keeps all threads busy.
    races::one_racer_runs(&shared()).await;
    races::one_racer_takes_over(&shared()).await;
    races::late_finish_or_takeover(&shared()).await;
    races::one_decision_counts(&shared()).await;
    races::released_place_goes_to_one_racer(&shared()).await;
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
    bounded::full_store_keeps_its_entries(&on(), ROOM).await;
    bounded::freed_room_is_given_again(&on(), ROOM).await;
    let (store, pass) = new(ROOM);
    bounded::racers_do_not_exceed_the_room(&Fixture::new((Arc::new(store), pass), unit), ROOM).await;
}
