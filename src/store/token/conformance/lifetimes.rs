//! Points 2, 9 and 11 of the contract: how long a token is found.

use super::fixtures::{
    END, NOW, OVERLAP, ROOM, answer, app, at, end, find, is_live, list, offer, put, renew, tag, take, token, touch,
    user,
};
use crate::{
    protocol::token::{Owner, RecordKind, TokenRef},
    store::token::{
        contract::TokenStore,
        record::{Found, Record, TokenKind, Touched, Which},
    },
};

pub(super) async fn record_is_found_as_it_was_put(store: &impl TokenStore) {
    let owner = user("u-1");
    let edit = |record: &mut Record| {
        record.device = "web".parse().ok();
        record.idle_until = Some(NOW + 600);
        record.data = Some("{\"role\":\"buyer\"}".into());
    };
    put(store, &owner, 1, edit).await;
    let (at, mut expected) = token(store, &owner, 1);
    edit(&mut expected);
    match find(store, &at, NOW).await {
        Found::Live { record, seed: None, is_unused_successor: false } => {
            assert_eq!(*record, expected, "find changed a record");
        }
        other => panic!("a token was not live right after its put: {other:?}"),
    }
    assert_eq!(list(store, &owner, NOW).await, [expected], "list changed a record");
}

pub(super) async fn token_lives_until_the_second_before_its_end(store: &impl TokenStore) {
    let owner = user("u-1");
    put(store, &owner, 1, |_| {}).await;
    put(store, &owner, 2, |record| record.session_expires_at = NOW + 10).await;
    put(store, &owner, 3, |record| record.idle_until = Some(NOW + 5)).await;
    for (n, end) in [(3, NOW + 5), (2, NOW + 10), (1, END)] {
        let (at, record) = token(store, &owner, n);
        for now in [NOW, end - 1] {
            assert!(is_live(store, &at, now).await, "token {n} was not live {} s before its end", end - now);
        }
        let listed = |list: Vec<Record>| list.iter().any(|listed| listed.id == record.id);
        assert!(listed(list(store, &owner, end - 1).await), "token {n} was not listed in its last second");
        assert!(!is_live(store, &at, end).await, "token {n} was live at its end");
        assert!(!listed(list(store, &owner, end).await), "token {n} was listed at its end");
    }
}

pub(super) async fn unknown_tokens_are_not_found(store: &impl TokenStore) {
    let owner = user("u-1");
    put(store, &owner, 1, |record| record.kind = TokenKind::OneTime).await;
    let unknown = at(store, &owner, 2);
    // The digest of another owner's token.
    let moved = TokenRef::new(RecordKind::Session, tag(store, &user("u-2")), *at(store, &owner, 1).digest());
    for at in [unknown, moved] {
        let found = find(store, &at, NOW).await;
        assert!(matches!(found, Found::Unknown), "a token that was never put was found: {found:?}");
        assert!(!take(store, &at, NOW).await, "a token that was never put was taken");
        assert_eq!(touch(store, &at, NOW, None).await, Touched::Gone, "a token that was never put was touched");
    }
}

pub(super) async fn owners_are_separate(store: &impl TokenStore) {
    let owners = [user("a"), Owner::App(app("a")), user("app/a"), user("aa"), user("A")];
    for (n, owner) in owners.iter().enumerate() {
        put(store, owner, n, |_| {}).await;
    }
    for owner in &owners {
        assert_eq!(list(store, owner, NOW).await.len(), 1, "{owner:?} does not have one session");
    }
    assert_eq!(end(store, &owners[0], Which::All, 0).await, 1);
    for owner in &owners[1..] {
        assert_eq!(list(store, owner, NOW).await.len(), 1, "the session of {owner:?} was ended with another owner's");
    }
}

/// A machine whose clock is 59 s ahead writes after the end of the token. Then a machine reads the token's last second.
pub(super) async fn expired_records_are_kept_for_60_seconds(store: &impl TokenStore) {
    let owner = user("u-1");
    put(store, &owner, 1, |record| record.expires_at = NOW + 10).await;
    put(store, &owner, 2, |record| record.idle_until = Some(NOW + 10)).await;
    put(store, &owner, 3, |_| {}).await;
    renew(store, &at(store, &owner, 3), &offer(store, &owner, 3, 4), NOW).await;
    touch(store, &at(store, &owner, 4), NOW + 10 - OVERLAP, None).await;
    let ahead = NOW + 10 + 59;
    list(store, &owner, ahead).await;
    touch(store, &at(store, &owner, 4), ahead, None).await;
    for n in 10..20 {
        let other = if n % 2 == 0 { owner.clone() } else { user(&format!("u-{n}")) };
        let (at, record) = token(store, &other, n);
        answer(store.put(&at, &record, ROOM, ahead)).await;
    }
    for (n, name) in [(1, "expired"), (2, "idle"), (3, "renewed")] {
        let at = at(store, &owner, n);
        assert!(is_live(store, &at, NOW + 9).await, "the {name} token was removed within 60 s after its end");
        assert!(!is_live(store, &at, NOW + 10).await, "the {name} token was live at its end");
    }
}
