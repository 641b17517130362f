//! Points 2, 6 and 7 of the contract: renewal, and the overlap of a token with its successor.

use super::fixtures::{END, NOW, OVERLAP, at, find, is_live, list, live, offer, put, renew, touch, user};
use crate::store::token::{
    contract::TokenStore,
    record::{Found, Renewed, TokenKind, Touched},
};

pub(super) async fn renewal_has_one_successor(store: &impl TokenStore) {
    let owner = user("u-1");
    put(store, &owner, 1, |_| {}).await;
    let old = at(store, &owner, 1);
    for n in [2, 3, 2] {
        match renew(store, &old, &offer(store, &owner, 1, n), NOW).await {
            Renewed::Kept { seed, .. } => {
                let first = offer(store, &owner, 1, 2).seed;
                assert_eq!(seed.as_bytes(), first.as_bytes(), "a renewal did not get the seed of the first offer");
            }
            other => panic!("a live token was not renewed: {other:?}"),
        }
    }
    assert_eq!(live(store, &owner, 1..4).await, [1, 2], "the old token and one successor are not the live ones");
    let found = find(store, &old, NOW).await;
    assert!(
        matches!(found, Found::Live { seed: Some(_), .. }),
        "a renewed token was found without its seed: {found:?}"
    );
    let found = find(store, &at(store, &owner, 2), NOW).await;
    let is_unused = matches!(found, Found::Live { seed: None, is_unused_successor: true, .. });
    assert!(is_unused, "a successor was not found as an unused one: {found:?}");
    assert_eq!(list(store, &owner, NOW).await.len(), 1, "a renewed session is not listed once");
}

pub(super) async fn every_renewal_gets_the_kept_record(store: &impl TokenStore) {
    let owner = user("u-1");
    put(store, &owner, 1, |_| {}).await;
    let kept = offer(store, &owner, 1, 2).record;
    for n in [2, 3] {
        match renew(store, &at(store, &owner, 1), &offer(store, &owner, 1, n), NOW).await {
            Renewed::Kept { record, .. } => {
                assert_eq!(record, kept, "a renewal did not get the record of the first offer")
            }
            other => panic!("a live token was not renewed: {other:?}"),
        }
    }
    match find(store, &at(store, &owner, 2), NOW).await {
        Found::Live { record, .. } => assert_eq!(*record, kept, "a successor has not the record of its offer"),
        other => panic!("a successor is not live: {other:?}"),
    }
}

pub(super) async fn overlap_begins_with_the_first_use(store: &impl TokenStore) {
    let owner = user("u-1");
    put(store, &owner, 1, |_| {}).await;
    let (old, successor) = (at(store, &owner, 1), at(store, &owner, 2));
    let offer = offer(store, &owner, 1, 2);
    renew(store, &old, &offer, NOW).await;
    let used = NOW + 1000;
    assert!(is_live(store, &old, used).await, "the overlap began before the successor was used");
    for now in [used, used + 200] {
        assert_eq!(touch(store, &successor, now, None).await, Touched::Done, "a successor was not touched");
    }
    assert!(is_live(store, &old, used + OVERLAP - 1).await, "the overlap was too short");
    let renewed = renew(store, &old, &offer, used + OVERLAP - 1).await;
    assert!(matches!(renewed, Renewed::Kept { .. }), "a renewal was forgotten within its overlap: {renewed:?}");
    assert!(!is_live(store, &old, used + OVERLAP).await, "the overlap was too long");
    let renewed = renew(store, &old, &offer, used + OVERLAP).await;
    assert!(matches!(renewed, Renewed::NotLive), "a token was renewed after its overlap: {renewed:?}");
    assert_eq!(touch(store, &old, used + OVERLAP, None).await, Touched::Gone, "a token was touched after its overlap");
    let found = find(store, &successor, used + OVERLAP).await;
    let is_used = matches!(found, Found::Live { is_unused_successor: false, .. });
    assert!(is_used, "a used successor was not found as a used one: {found:?}");
}

/// The successor is renewed before any request has used it.
pub(super) async fn renewal_is_a_use(store: &impl TokenStore) {
    let owner = user("u-1");
    put(store, &owner, 1, |_| {}).await;
    renew(store, &at(store, &owner, 1), &offer(store, &owner, 1, 2), NOW).await;
    renew(store, &at(store, &owner, 2), &offer(store, &owner, 1, 3), NOW).await;
    let first = at(store, &owner, 1);
    assert!(is_live(store, &first, NOW + OVERLAP - 1).await, "the overlap was too short");
    assert!(!is_live(store, &first, NOW + OVERLAP).await, "the renewal of a successor did not begin the overlap");
}

pub(super) async fn renewal_does_not_prolong_the_old_token(store: &impl TokenStore) {
    let (owner, end) = (user("u-1"), NOW + 50);
    put(store, &owner, 1, |record| record.expires_at = end).await;
    let old = at(store, &owner, 1);
    renew(store, &old, &offer(store, &owner, 1, 2), NOW).await;
    touch(store, &at(store, &owner, 2), NOW, None).await;
    assert!(is_live(store, &old, end - 1).await, "a renewal shortened the old token");
    assert!(!is_live(store, &old, end).await, "a renewal prolonged the old token");
}

pub(super) async fn touch_in_the_overlap_changes_nothing(store: &impl TokenStore) {
    let owner = user("u-1");
    put(store, &owner, 1, |record| record.idle_until = Some(NOW + 100)).await;
    let old = at(store, &owner, 1);
    renew(store, &old, &offer(store, &owner, 1, 2), NOW).await;
    let touched = touch(store, &old, NOW + 50, Some(END)).await;
    assert_eq!(touched, Touched::Done, "a token in its overlap was not live to a touch");
    match find(store, &old, NOW + 50).await {
        Found::Live { record, seed: Some(_), .. } => {
            let times = (record.seen_at, record.idle_until);
            assert_eq!(times, (NOW, Some(NOW + 100)), "a touch changed a token in its overlap");
        }
        other => panic!("a touch changed a token in its overlap: {other:?}"),
    }
    let found = find(store, &at(store, &owner, 2), NOW + 50).await;
    let is_unused = matches!(found, Found::Live { is_unused_successor: true, .. });
    assert!(is_unused, "a touch of the old token used its successor: {found:?}");
}

pub(super) async fn only_live_tokens_are_renewed(store: &impl TokenStore) {
    let owner = user("u-1");
    put(store, &owner, 1, |_| {}).await;
    put(store, &owner, 2, |record| record.idle_until = Some(NOW + 10)).await;
    for (n, now, name) in [(1, END, "expired"), (2, NOW + 10, "idle"), (3, NOW, "unknown")] {
        let renewed = renew(store, &at(store, &owner, n), &offer(store, &owner, n, 10 + n), now).await;
        assert!(matches!(renewed, Renewed::NotLive), "the {name} token was renewed: {renewed:?}");
        assert!(!is_live(store, &at(store, &owner, 10 + n), now - 1).await, "the {name} token got a successor");
    }
}

pub(super) async fn one_time_tokens_are_not_renewed(store: &impl TokenStore) {
    let owner = user("u-1");
    put(store, &owner, 1, |record| record.kind = TokenKind::OneTime).await;
    let renewed = renew(store, &at(store, &owner, 1), &offer(store, &owner, 1, 2), NOW).await;
    assert!(matches!(renewed, Renewed::NotLive), "a one-time token was renewed: {renewed:?}");
    assert_eq!(live(store, &owner, 1..3).await, [1], "the renewal of a one-time token changed something");
}

pub(super) async fn session_is_renewed_four_times_in_an_overlap(store: &impl TokenStore) {
    let owner = user("u-1");
    put(store, &owner, 0, |_| {}).await;
    let at = |n| at(store, &owner, n);
    let offer = |n| offer(store, &owner, 0, n);
    for n in 0..4 {
        let renewed = renew(store, &at(n), &offer(n + 1), NOW).await;
        assert!(matches!(renewed, Renewed::Kept { .. }), "renewal {} in an overlap: {renewed:?}", n + 1);
        assert_eq!(touch(store, &at(n + 1), NOW, None).await, Touched::Done);
    }
    let fifth = renew(store, &at(4), &offer(5), NOW + OVERLAP - 1).await;
    assert!(matches!(fifth, Renewed::TooOften), "a fifth renewal in an overlap: {fifth:?}");
    assert_eq!(live(store, &owner, [4, 5]).await, [4], "a renewal that was refused changed something");
    let later = renew(store, &at(4), &offer(5), NOW + OVERLAP).await;
    assert!(matches!(later, Renewed::Kept { .. }), "a renewal after the overlaps: {later:?}");
}
