//! The room of the token store in memory.

use std::{sync::Arc, time::Duration};

use countersign::{
    AppId,
    clock::ManualClock,
    store::MemoryTokenStore,
    token::{IssueError, NewToken, SessionLimit, Tokens},
};

use crate::{rig::NOW, tokens::Watched};

fn tokens(capacity: usize) -> (Tokens, Arc<MemoryTokenStore>, ManualClock) {
    let (store, clock) = (MemoryTokenStore::with_capacity(capacity).unwrap(), ManualClock::at(NOW));
    let store = Watched::over(store, None);
    (Tokens::new(store.clone()).with_clock(clock.clone()), store.inner, clock)
}

fn demo() -> AppId {
    "demo".parse().unwrap()
}

fn user(n: usize) -> NewToken {
    NewToken::for_user(format!("u-{n}").parse().unwrap())
}

/// A client whose renewal response was lost must not be logged out because the store is full.
#[tokio::test]
async fn full_store_repeats_a_renewal() {
    let (tokens, store, _) = tokens(2);
    let first = tokens.issue_for(&demo(), user(1)).await.unwrap();
    let renewed = tokens.renew_for(&demo(), first.token()).await.unwrap().unwrap();
    assert_eq!(store.len(), 2);
    assert!(matches!(tokens.renew_for(&demo(), renewed.token()).await, Err(IssueError::Store(_))), "there is no room");
    let again = tokens.renew_for(&demo(), first.token()).await.unwrap().unwrap();
    assert_eq!(again.token().expose(), renewed.token().expose());
    assert!(tokens.check(&demo(), renewed.token()).await.unwrap().is_some());
}

#[tokio::test]
async fn grants_and_sessions_share_the_room() {
    const HOUR: Duration = Duration::from_secs(3600);
    let (tokens, store, clock) = tokens(10);
    let login = tokens.issue_for(&demo(), user(1).with_lifetime(10 * HOUR)).await.unwrap();
    for n in 2..=10 {
        tokens.issue_for(&demo(), user(n)).await.unwrap();
    }
    assert!(matches!(tokens.grant(login.session(), HOUR).await, Err(IssueError::Store(_))), "there is no room");
    clock.advance(Duration::from_secs(7200 + 60));
    for _ in 0..9 {
        tokens.grant(login.session(), HOUR).await.unwrap();
    }
    assert_eq!(store.len(), 10);
    assert!(tokens.issue_for(&demo(), user(2)).await.is_err(), "there is no room");
    clock.advance(Duration::from_secs(3600 + 60));
    tokens.issue_for(&demo(), user(2)).await.unwrap();
}

#[tokio::test]
async fn each_new_token_removes_a_few_expired_ones() {
    const OWNERS: usize = 1000;
    let (tokens, store, clock) = tokens(1_000_000);
    for n in 0..OWNERS {
        tokens.issue_for(&demo(), user(n)).await.unwrap();
    }
    clock.advance(Duration::from_secs(7200 + 60));
    tokens.issue_for(&demo(), user(OWNERS)).await.unwrap();
    assert!((OWNERS - 4..OWNERS).contains(&store.len()), "{} of {OWNERS} and one are left", store.len());
    for n in 0..2 * OWNERS {
        tokens.issue_for(&demo(), user(2 * OWNERS + n)).await.unwrap();
    }
    assert_eq!(store.len(), 2 * OWNERS + 1, "all expired tokens are removed");
}

/// The store removes expired tokens of a limited number of owners at a time, and new tokens are accepted meanwhile.
#[tokio::test]
async fn full_store_of_expired_tokens_accepts_new_ones() {
    const OWNERS: usize = 2000;
    let (tokens, store, clock) = tokens(OWNERS);
    for n in 0..OWNERS {
        tokens.issue_for(&demo(), user(n)).await.unwrap();
    }
    assert!(matches!(tokens.issue_for(&demo(), user(OWNERS)).await, Err(IssueError::Store(_))), "there is no room");
    clock.advance(Duration::from_secs(7200 + 60));
    tokens.issue_for(&demo(), user(OWNERS)).await.unwrap();
    assert!(store.len() > OWNERS - 100, "one new token removed {} expired ones", OWNERS - store.len());
    for n in 1..OWNERS {
        tokens.issue_for(&demo(), user(OWNERS + n)).await.unwrap();
    }
    assert!(store.len() <= OWNERS);
}

/// An attacker who logs in again and again must not push out the reasons of other apps, or fill the store.
#[tokio::test]
async fn repeated_logins_take_a_bounded_part_of_the_store() {
    let (tokens, store, _) = tokens(1000);
    let tokens = tokens.with_limit(SessionLimit::NewestWins(1)).with_end_reasons(Duration::from_secs(3600));
    for _ in 0..5000 {
        tokens.issue_for(&demo(), user(1)).await.unwrap();
    }
    assert_eq!(store.len(), 65, "the session, and 64 ended ones");
}
