//! Point 3 of the contract: limits on the tokens of one owner.

use super::fixtures::{
    END, NOW, ROOM, answer, app, at, find, is_live, list, live, offer, put, put_in, renew, token, user,
};
use crate::{
    protocol::token::Owner,
    store::token::{
        contract::TokenStore,
        record::{Found, Placed, Record, Room, SessionLimit, TokenKind},
    },
};

const DONE: Placed = Placed::Done { ended: 0 };

pub(super) async fn newest_sessions_win(store: &impl TokenStore) {
    let owner = user("u-1");
    let room = Room { limit: Some(SessionLimit::NewestWins(2)), ..ROOM };
    for (n, ended) in [0, 0, 1, 1].into_iter().enumerate() {
        let placed = put_in(store, &owner, n, room, |_| {}).await;
        assert_eq!(placed, Placed::Done { ended }, "session {n}, of which the newest 2 win");
        assert!(is_live(store, &at(store, &owner, n), NOW).await, "a limit ended the new session");
    }
    assert_eq!(live(store, &owner, 0..4).await, [2, 3], "the newest sessions did not win");
}

/// The clocks of machines differ: later sessions have earlier times.
pub(super) async fn newest_wins_by_the_order_of_the_store(store: &impl TokenStore) {
    let owner = user("u-1");
    let room = Room { limit: Some(SessionLimit::NewestWins(3)), ..ROOM };
    for n in 0..6 {
        let (at, record) = token(store, &owner, n);
        let now = NOW - n as u64;
        let record = Record { issued_at: now, seen_at: now, expires_at: END - n as u64, ..record };
        answer(store.put(&at, &record, room, now)).await;
    }
    assert_eq!(live(store, &owner, 0..6).await, [3, 4, 5], "a limit ended sessions by their times");
    let listed: Vec<_> = list(store, &owner, NOW).await.into_iter().map(|record| record.id).collect();
    let expected = [3, 4, 5].map(|n| token(store, &owner, n).1.id);
    assert_eq!(listed, expected, "sessions are not listed in the order in which they were put");
}

pub(super) async fn replaced_session_has_no_successor(store: &impl TokenStore) {
    let owner = user("u-1");
    let room = Room { limit: Some(SessionLimit::NewestWins(2)), ..ROOM };
    put_in(store, &owner, 0, room, |_| {}).await;
    put_in(store, &owner, 1, room, |_| {}).await;
    // The renewed session is still the oldest.
    renew(store, &at(store, &owner, 0), &offer(store, &owner, 0, 10), NOW).await;
    put_in(store, &owner, 2, room, |_| {}).await;
    assert_eq!(live(store, &owner, [0, 10, 1, 2]).await, [1, 2], "a token of a replaced session is live");
}

pub(super) async fn limit_refuses(store: &impl TokenStore) {
    let owner = user("u-1");
    let room = Room { limit: Some(SessionLimit::Refuse(2)), ..ROOM };
    for (n, placed) in [DONE, DONE, Placed::Refused].into_iter().enumerate() {
        assert_eq!(put_in(store, &owner, n, room, |_| {}).await, placed, "session {n} of at most 2");
    }
    assert!(!is_live(store, &at(store, &owner, 2), NOW).await, "a refused session is live");
}

pub(super) async fn refusal_changes_nothing(store: &impl TokenStore) {
    let owner = user("u-1");
    for n in 0..3 {
        put(store, &owner, n, |record| record.kind = if n == 0 { TokenKind::Session } else { TokenKind::Bearer }).await;
    }
    let before = list(store, &owner, NOW).await;
    let refusing = Room { limit: Some(SessionLimit::Refuse(1)), remember: 100, ..ROOM };
    // The limit would end a session, and the maximum refuses the new one all the same.
    let full = Room { limit: Some(SessionLimit::NewestWins(1)), max: 2, remember: 100 };
    for room in [refusing, full] {
        assert_eq!(put_in(store, &owner, 9, room, |_| {}).await, Placed::Refused, "{room:?} and three tokens");
        assert_eq!(list(store, &owner, NOW).await, before, "a refusal changed the tokens of the owner");
        let refused = find(store, &at(store, &owner, 9), NOW).await;
        assert!(matches!(refused, Found::Unknown), "a refused token was stored: {refused:?}");
    }
}

pub(super) async fn expired_sessions_do_not_count(store: &impl TokenStore) {
    let rooms = [
        Room { limit: Some(SessionLimit::Refuse(1)), ..ROOM },
        Room { limit: Some(SessionLimit::NewestWins(1)), ..ROOM },
        Room { max: 1, ..ROOM },
    ];
    for (n, room) in rooms.into_iter().enumerate() {
        let owner = user(&format!("u-{n}"));
        put_in(store, &owner, 0, room, |_| {}).await;
        let (at, record) = token(store, &owner, 1);
        let record = Record { expires_at: END + 100, session_expires_at: END + 100, ..record };
        let placed = answer(store.put(&at, &record, room, END)).await;
        assert_eq!(placed, DONE, "an expired session counts: {room:?}");
    }
}

pub(super) async fn apps_are_counted_separately(store: &impl TokenStore) {
    let owner = user("u-1");
    let room = Room { limit: Some(SessionLimit::NewestWins(1)), max: 1, ..ROOM };
    for (n, id) in ["demo", "other"].into_iter().enumerate() {
        let placed = put_in(store, &owner, n, room, |record| record.app_id = app(id)).await;
        assert_eq!(placed, DONE, "a limit counts sessions of another app");
    }
    assert_eq!(live(store, &owner, 0..2).await, [0, 1], "a limit ended a session of another app");
}

pub(super) async fn devices_are_counted_separately(store: &impl TokenStore) {
    let owner = user("u-1");
    let room = Room { limit: Some(SessionLimit::NewestWins(1)), ..ROOM };
    for (n, device) in [None, Some("web"), Some("phone")].into_iter().enumerate() {
        let device = device.and_then(|device| device.parse().ok());
        let placed = put_in(store, &owner, n, room, |record| record.device = device).await;
        assert_eq!(placed, DONE, "a limit counts sessions on another kind of device");
    }
    assert_eq!(live(store, &owner, 0..3).await, [0, 1, 2], "a limit ended a session on another kind of device");
}

pub(super) async fn only_plain_sessions_count(store: &impl TokenStore) {
    let owner = user("u-1");
    let room = Room { limit: Some(SessionLimit::Refuse(1)), ..ROOM };
    let kinds = [TokenKind::Api, TokenKind::OneTime, TokenKind::Bearer, TokenKind::Session, TokenKind::OneTime];
    for (n, kind) in kinds.into_iter().enumerate() {
        let placed = put_in(store, &owner, n, room, |record| record.kind = kind).await;
        assert_eq!(placed, DONE, "a limit on plain sessions counts other tokens: {kind:?}");
    }
    let newest = Room { limit: Some(SessionLimit::NewestWins(1)), ..ROOM };
    assert_eq!(put_in(store, &owner, 5, newest, |_| {}).await, Placed::Done { ended: 1 });
    assert_eq!(live(store, &owner, 0..6).await, [0, 1, 2, 4, 5], "a limit on plain sessions ended other tokens");
}

pub(super) async fn renewed_sessions_count_once(store: &impl TokenStore) {
    let owner = user("u-1");
    let room = Room { limit: Some(SessionLimit::Refuse(2)), max: 2, ..ROOM };
    put_in(store, &owner, 0, room, |_| {}).await;
    renew(store, &at(store, &owner, 0), &offer(store, &owner, 0, 10), NOW).await;
    assert_eq!(put_in(store, &owner, 1, room, |_| {}).await, DONE, "a limit counts a renewed session twice");
    assert_eq!(put_in(store, &owner, 2, room, |_| {}).await, Placed::Refused, "a limit counts no renewed session");
}

pub(super) async fn max_counts_all_kinds_of_one_app(store: &impl TokenStore) {
    let owner = user("u-1");
    let room = Room { max: 3, ..ROOM };
    for (n, kind) in [TokenKind::Session, TokenKind::OneTime, TokenKind::Bearer].into_iter().enumerate() {
        assert_eq!(put_in(store, &owner, n, room, |record| record.kind = kind).await, DONE, "token {n} of at most 3");
    }
    for kind in [TokenKind::Session, TokenKind::OneTime, TokenKind::Bearer] {
        let placed = put_in(store, &owner, 3, room, |record| record.kind = kind).await;
        assert_eq!(placed, Placed::Refused, "the owner has more than 3 tokens: {kind:?}");
    }
}

pub(super) async fn app_has_at_most_max_tokens(store: &impl TokenStore) {
    let owner = Owner::App(app("demo"));
    for n in 0..=ROOM.max {
        let expected = if n < ROOM.max { DONE } else { Placed::Refused };
        let placed = put(store, &owner, n, |record| record.kind = TokenKind::Api).await;
        assert_eq!(placed, expected, "API token {n} of at most 1,000");
    }
    assert_eq!(list(store, &owner, NOW).await.len(), ROOM.max, "API tokens were dropped");
}
