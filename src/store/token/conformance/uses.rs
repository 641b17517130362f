//! Points 5 and 7 of the contract: one-time tokens, and the use of sessions.

use super::fixtures::{END, NOW, at, end, find, is_live, put, take, touch, user};
use crate::store::token::{
    contract::TokenStore,
    record::{Found, TokenKind, Touched, Which},
};

pub(super) async fn one_time_token_is_taken_once(store: &impl TokenStore) {
    let owner = user("u-1");
    put(store, &owner, 1, |record| record.kind = TokenKind::OneTime).await;
    let at = at(store, &owner, 1);
    assert!(take(store, &at, NOW).await, "a live one-time token was not taken");
    assert!(!take(store, &at, NOW).await, "a token was taken twice");
    assert!(!is_live(store, &at, NOW).await, "a token is live after it was taken");
}

pub(super) async fn expired_token_is_not_taken(store: &impl TokenStore) {
    let owner = user("u-1");
    for n in 1..3 {
        put(store, &owner, n, |record| record.kind = TokenKind::OneTime).await;
    }
    assert!(take(store, &at(store, &owner, 1), END - 1).await, "a token was not taken in its last second");
    assert!(!take(store, &at(store, &owner, 2), END).await, "an expired token was taken before it was removed");
}

pub(super) async fn ended_token_is_not_taken(store: &impl TokenStore) {
    let owner = user("u-1");
    for (n, remember) in [0, 100].into_iter().enumerate() {
        put(store, &owner, n, |record| record.kind = TokenKind::OneTime).await;
        end(store, &owner, Which::All, remember).await;
        assert!(!take(store, &at(store, &owner, n), NOW).await, "an ended token was taken");
    }
}

pub(super) async fn expired_session_is_not_touched(store: &impl TokenStore) {
    let owner = user("u-1");
    put(store, &owner, 1, |record| record.idle_until = Some(NOW + 10)).await;
    let at = at(store, &owner, 1);
    assert_eq!(touch(store, &at, NOW + 10, Some(END)).await, Touched::Gone, "an expired session was touched");
    assert!(!is_live(store, &at, NOW + 10).await, "a touch revived an expired session");
}

pub(super) async fn touch_creates_nothing(store: &impl TokenStore) {
    let at = at(store, &user("u-1"), 1);
    assert_eq!(touch(store, &at, NOW, Some(END)).await, Touched::Gone);
    let found = find(store, &at, NOW).await;
    assert!(matches!(found, Found::Unknown), "a touch created a token: {found:?}");
}

pub(super) async fn touch_moves_the_idle_end(store: &impl TokenStore) {
    let owner = user("u-1");
    put(store, &owner, 1, |record| record.idle_until = Some(NOW + 10)).await;
    let at = at(store, &owner, 1);
    assert_eq!(touch(store, &at, NOW + 9, Some(NOW + 100)).await, Touched::Done, "a live session was not touched");
    assert!(is_live(store, &at, NOW + 99).await, "a touch did not move the idle end");
    assert!(!is_live(store, &at, NOW + 100).await, "a session is live at its idle end");
    match find(store, &at, NOW + 9).await {
        Found::Live { record, .. } => {
            assert_eq!(record.seen_at, NOW + 9, "a touch did not move the time of the last use")
        }
        other => panic!("a touched session is not live: {other:?}"),
    }
}

pub(super) async fn touch_never_shortens(store: &impl TokenStore) {
    let owner = user("u-1");
    put(store, &owner, 1, |record| record.idle_until = Some(NOW + 100)).await;
    put(store, &owner, 2, |_| {}).await;
    for until in [Some(NOW + 50), None] {
        for n in [1, 2] {
            assert_eq!(touch(store, &at(store, &owner, n), NOW, until).await, Touched::Done);
            let is_live = is_live(store, &at(store, &owner, n), NOW + 99).await;
            assert!(is_live, "a touch shortened session {n}");
        }
    }
}

pub(super) async fn touch_never_passes_the_end(store: &impl TokenStore) {
    let owner = user("u-1");
    put(store, &owner, 1, |record| record.idle_until = Some(NOW + 10)).await;
    put(store, &owner, 2, |_| {}).await;
    for n in [1, 2] {
        touch(store, &at(store, &owner, n), NOW, Some(END + 100)).await;
        assert!(!is_live(store, &at(store, &owner, n), END).await, "a touch prolonged a session beyond its end");
    }
}
