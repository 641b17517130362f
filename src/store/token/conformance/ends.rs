//! Point 4 of the contract: ends, and their reasons.

use super::fixtures::{
    END, NOW, ROOM, answer, app, at, end, find, is_live, list, live, offer, put, put_in, renew, tag, token, touch, user,
};
use crate::{
    protocol::token::RecordKind,
    store::token::{
        contract::TokenStore,
        record::{EndReason, Found, Renewed, Room, SessionLimit, Touched, Which},
    },
};

pub(super) async fn ended_tokens_are_gone(store: &impl TokenStore) {
    let owner = user("u-1");
    for remember in [0, 100] {
        for n in 0..3 {
            put(store, &owner, n, |_| {}).await;
        }
        assert_eq!(end(store, &owner, Which::All, remember).await, 3, "three sessions were live");
        for n in 0..3 {
            let at = at(store, &owner, n);
            assert!(!is_live(store, &at, NOW).await, "an ended session is live");
            assert_eq!(touch(store, &at, NOW, Some(END)).await, Touched::Gone, "an ended session was touched");
            let renewed = renew(store, &at, &offer(store, &owner, n, 50 + n), NOW).await;
            assert!(matches!(renewed, Renewed::NotLive), "an ended session was renewed: {renewed:?}");
        }
        assert_eq!(end(store, &owner, Which::All, remember).await, 0, "sessions were ended twice");
        assert!(list(store, &owner, NOW).await.is_empty(), "an ended session is listed");
    }
}

pub(super) async fn ends_are_selected(store: &impl TokenStore) {
    let owner = user("u-1");
    let (demo, other) = (app("demo"), app("other"));
    let id = |n| token(store, &owner, n).1.id;
    let cases = [
        (Which::One(id(2)), vec![0, 1, 3]),
        (Which::OneOf(&demo, id(1)), vec![0, 2, 3]),
        (Which::OneOf(&demo, id(2)), vec![0, 1, 2, 3]),
        (Which::AllBut(&demo, id(0)), vec![0, 2, 3]),
        (Which::AllOf(&other), vec![0, 1]),
        (Which::All, vec![]),
    ];
    for (which, left) in cases {
        end(store, &owner, Which::All, 0).await;
        for n in 0..4 {
            put(store, &owner, n, |record| record.app_id = if n < 2 { demo.clone() } else { other.clone() }).await;
        }
        assert_eq!(end(store, &owner, which, 0).await, 4 - left.len(), "the number of sessions that {which:?} ends");
        assert_eq!(live(store, &owner, 0..4).await, left, "the sessions that {which:?} leaves");
    }
}

pub(super) async fn ended_session_has_no_successor(store: &impl TokenStore) {
    let owner = user("u-1");
    let demo = app("demo");
    let (id, other) = (token(store, &owner, 0).1.id, token(store, &owner, 9).1.id);
    for which in [Which::One(id), Which::OneOf(&demo, id), Which::AllBut(&demo, other), Which::AllOf(&demo), Which::All]
    {
        put(store, &owner, 0, |_| {}).await;
        renew(store, &at(store, &owner, 0), &offer(store, &owner, 0, 1), NOW).await;
        renew(store, &at(store, &owner, 1), &offer(store, &owner, 0, 2), NOW).await;
        assert_eq!(live(store, &owner, 0..3).await, [0, 1, 2], "the tokens of a renewed session");
        assert_eq!(end(store, &owner, which, 0).await, 1, "a renewed session counts once: {which:?}");
        let live = live(store, &owner, 0..3).await;
        assert!(live.is_empty(), "tokens {live:?} of a renewed session survived {which:?}");
    }
}

/// The token has expired for the machine that ends it, and not yet for another one.
pub(super) async fn expired_tokens_are_ended(store: &impl TokenStore) {
    let owner = user("u-1");
    put(store, &owner, 1, |record| record.expires_at = NOW + 10).await;
    let ended = answer(store.end(&tag(store, &owner), RecordKind::Session, Which::All, 0, NOW + 10)).await;
    assert_eq!(ended, 0, "an expired session counts as ended");
    assert!(!is_live(store, &at(store, &owner, 1), NOW + 9).await, "a token is live after an end by a faster clock");
}

pub(super) async fn reasons_are_remembered_until_their_last_second(store: &impl TokenStore) {
    let owner = user("u-1");
    let room = Room { limit: Some(SessionLimit::NewestWins(1)), remember: 100, ..ROOM };
    for n in 0..2 {
        put_in(store, &owner, n, room, |_| {}).await;
    }
    put(store, &owner, 2, |record| record.app_id = app("other")).await;
    end(store, &owner, Which::AllOf(&app("demo")), 100).await;
    end(store, &owner, Which::AllOf(&app("other")), 0).await;
    for (n, expected) in [(0, EndReason::Replaced), (1, EndReason::Revoked)] {
        match find(store, &at(store, &owner, n), NOW + 99).await {
            Found::Ended { app_id, reason } => {
                assert_eq!((app_id, reason), (app("demo"), expected), "the reason of session {n}");
            }
            other => panic!("the reason of session {n} was forgotten: {other:?}"),
        }
        let late = find(store, &at(store, &owner, n), NOW + 100).await;
        assert!(matches!(late, Found::Unknown), "a reason was remembered for too long: {late:?}");
    }
    let without = find(store, &at(store, &owner, 2), NOW).await;
    assert!(matches!(without, Found::Unknown), "a reason was remembered without a time for it: {without:?}");
}

pub(super) async fn ended_tokens_are_remembered_for_64_of_an_app(store: &impl TokenStore) {
    let owner = user("u-1");
    put(store, &owner, 200, |record| record.app_id = app("other")).await;
    end(store, &owner, Which::All, 1000).await;
    let room = Room { limit: Some(SessionLimit::NewestWins(1)), remember: 1000, ..ROOM };
    for n in 0..100 {
        put_in(store, &owner, n, room, |_| {}).await;
    }
    let mut remembered = Vec::new();
    for n in (0..100).chain([200]) {
        if let Found::Ended { .. } = find(store, &at(store, &owner, n), NOW).await {
            remembered.push(n);
        }
    }
    assert_eq!(remembered.pop(), Some(200), "ended tokens of one app displaced one of another app");
    assert!(remembered.len() <= 64, "{} ended tokens of one app are remembered", remembered.len());
    assert_eq!(remembered.last(), Some(&98), "the newest ended token was forgotten");
}
