//! The list of the conformance tests.

use std::sync::Arc;

use super::{
    bounded, ends,
    grants::{self, AsGrants},
    lifetimes, limits, races, renewals, uses,
};
use crate::store::token::contract::TokenStore;

/// Tests a token store against its [contract](TokenStore#contract). `new` creates an empty store each time.
///
/// Run it on a multi-threaded tokio runtime. On a single thread, it cannot find races.
///
/// # Panics
///
/// The store breaks the contract.
pub async fn token_store<S: TokenStore>(new: impl Fn() -> S) {
    lifetimes::record_is_found_as_it_was_put(&new()).await;
    lifetimes::token_lives_until_the_second_before_its_end(&new()).await;
    lifetimes::unknown_tokens_are_not_found(&new()).await;
    lifetimes::owners_are_separate(&new()).await;
    renewals::renewal_has_one_successor(&new()).await;
    renewals::every_renewal_gets_the_kept_record(&new()).await;
    renewals::overlap_begins_with_the_first_use(&new()).await;
    renewals::renewal_is_a_use(&new()).await;
    renewals::renewal_does_not_prolong_the_old_token(&new()).await;
    renewals::touch_in_the_overlap_changes_nothing(&new()).await;
    renewals::only_live_tokens_are_renewed(&new()).await;
    renewals::one_time_tokens_are_not_renewed(&new()).await;
    renewals::session_is_renewed_four_times_in_an_overlap(&new()).await;
    limits::newest_sessions_win(&new()).await;
    limits::newest_wins_by_the_order_of_the_store(&new()).await;
    limits::replaced_session_has_no_successor(&new()).await;
    limits::limit_refuses(&new()).await;
    limits::expired_sessions_do_not_count(&new()).await;
    limits::apps_are_counted_separately(&new()).await;
    limits::devices_are_counted_separately(&new()).await;
    limits::only_plain_sessions_count(&new()).await;
    limits::renewed_sessions_count_once(&new()).await;
    limits::max_counts_all_kinds_of_one_app(&new()).await;
    limits::app_has_at_most_max_tokens(&new()).await;
    limits::refusal_changes_nothing(&new()).await;
    ends::ended_tokens_are_gone(&new()).await;
    ends::ends_are_selected(&new()).await;
    ends::ended_session_has_no_successor(&new()).await;
    ends::expired_tokens_are_ended(&new()).await;
    ends::reasons_are_remembered_until_their_last_second(&new()).await;
    ends::ended_tokens_are_remembered_for_64_of_an_app(&new()).await;
    uses::one_time_token_is_taken_once(&new()).await;
    uses::expired_token_is_not_taken(&new()).await;
    uses::ended_token_is_not_taken(&new()).await;
    uses::expired_session_is_not_touched(&new()).await;
    uses::touch_creates_nothing(&new()).await;
    uses::touch_moves_the_idle_end(&new()).await;
    uses::touch_never_shortens(&new()).await;
    uses::touch_never_passes_the_end(&new()).await;
    lifetimes::expired_records_are_kept_for_60_seconds(&new()).await;
    races::one_racer_takes(Arc::new(new())).await;
    races::racing_renewals_have_one_successor(Arc::new(new())).await;
    races::racing_logins_keep_the_limit(Arc::new(new())).await;
    races::racing_logins_keep_the_refusing_limit(Arc::new(new())).await;
    races::no_renewal_survives_an_end(Arc::new(new())).await;
    races::a_login_is_ended_or_live(Arc::new(new())).await;
    races::a_token_is_taken_or_ended(Arc::new(new())).await;
    races::no_touch_survives_an_end(Arc::new(new())).await;
    grants::kinds_are_separate(&new()).await;
    grants::ends_leave_the_other_kind(&new()).await;
    grants::limits_ignore_the_other_kind(&new()).await;
    grants::grants_of_an_app_have_a_maximum(&new()).await;
    lifetimes::record_is_found_as_it_was_put(&AsGrants(new())).await;
    lifetimes::token_lives_until_the_second_before_its_end(&AsGrants(new())).await;
    lifetimes::owners_are_separate(&AsGrants(new())).await;
    limits::expired_sessions_do_not_count(&AsGrants(new())).await;
    limits::apps_are_counted_separately(&AsGrants(new())).await;
    ends::ends_are_selected(&AsGrants(new())).await;
    ends::expired_tokens_are_ended(&AsGrants(new())).await;
    races::a_login_is_ended_or_live(Arc::new(AsGrants(new()))).await;
}

/// Tests the behavior of a full token store. `new` creates an empty store with room for this many records.
///
/// # Panics
///
/// The store breaks the contract.
pub async fn bounded_token_store<S: TokenStore>(new: impl Fn(usize) -> S) {
    bounded::full_store_keeps_live_records(&new(10)).await;
    bounded::expired_records_make_room(&new(10)).await;
    bounded::ended_records_make_room(&new(10)).await;
    bounded::renewals_do_not_fill_a_store(&new(10)).await;
    bounded::ends_do_not_fill_a_store(&new(100)).await;
    bounded::full_store_keeps_live_records(&AsGrants(new(10))).await;
    bounded::expired_records_make_room(&AsGrants(new(10))).await;
    bounded::racing_logins_do_not_exceed_the_room(Arc::new(new(10))).await;
}
