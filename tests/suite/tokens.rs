//! Tokens: the stores and their contract, and what `Tokens` makes of them.

use std::time::Duration;

use countersign::{
    AppId, KeyRing, Token,
    clock::ManualClock,
    store::{MemoryTokenStore, conformance},
    token::{EndReason, IssueError, NewToken, Owner, SessionLimit, TokenKind, Tokens},
};
use serde::{Deserialize, Serialize};

use crate::rig::{self, NOW};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_store_keeps_the_contract() {
    conformance::token_store(|| MemoryTokenStore::new().unwrap()).await;
    conformance::bounded_token_store(|capacity| MemoryTokenStore::with_capacity(capacity).unwrap()).await;
}

fn tokens() -> (Tokens, ManualClock) {
    let clock = ManualClock::at(NOW);
    (Tokens::new(MemoryTokenStore::new().unwrap()).with_clock(clock.clone()), clock)
}

fn demo() -> AppId {
    "demo".parse().unwrap()
}

fn user() -> NewToken {
    NewToken::for_user("u-17".parse().unwrap())
}

fn owner() -> Owner {
    Owner::User("u-17".parse().unwrap())
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Role {
    name: String,
}

#[tokio::test]
async fn token_is_valid_for_its_app_alone() {
    let (tokens, clock) = tokens();
    let role = Role { name: "buyer".to_owned() };
    let issued = tokens.issue_for(&demo(), user().on("web".parse().unwrap()).with_data(&role).unwrap()).await.unwrap();
    assert_eq!(issued.expires_in(), 7200);
    let session = tokens.check(&demo(), issued.token()).await.unwrap().unwrap();
    assert_eq!(session, *issued.session());
    assert_eq!((session.user().unwrap().as_str(), session.device().unwrap().as_str()), ("u-17", "web"));
    assert_eq!((session.data::<Role>(), session.data::<Vec<u8>>()), (Some(role), None));
    assert!(tokens.check(&"other".parse().unwrap(), issued.token()).await.unwrap().is_none());
    for text in ["tok_1", "cs1_AAAAAAAAAAAAAAAAAAAAAA_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
        assert!(tokens.check(&demo(), &text.parse().unwrap()).await.unwrap().is_none(), "{text}");
    }
    clock.advance(Duration::from_secs(7199));
    assert!(tokens.check(&demo(), issued.token()).await.unwrap().is_some());
    clock.advance(Duration::from_secs(1));
    assert!(tokens.check(&demo(), issued.token()).await.unwrap().is_none());
}

#[tokio::test]
async fn lost_renewal_gives_the_same_token_again() {
    let (tokens, clock) = tokens();
    let first = tokens.issue_for(&demo(), user()).await.unwrap();
    clock.advance(Duration::from_secs(7000));
    let renewed = tokens.renew(&demo(), first.token()).await.unwrap().unwrap();
    // The answer was lost, and the client asks again from another machine.
    clock.advance(Duration::from_secs(100));
    let again = tokens.renew(&demo(), first.token()).await.unwrap().unwrap();
    assert_eq!(again.token().expose(), renewed.token().expose());
    assert_eq!(again.session(), renewed.session());
    let known = tokens.renewed(&demo(), first.token()).await.unwrap().unwrap();
    assert_eq!(known.token().expose(), renewed.token().expose());
    assert_eq!(renewed.session().id(), first.session().id(), "a session keeps its id");
    assert_eq!(renewed.session().expires_at(), NOW + 7000 + 7200);
    assert!(tokens.renewed(&demo(), renewed.token()).await.unwrap().is_none());
    clock.advance(Duration::from_secs(100));
    assert!(tokens.check(&demo(), first.token()).await.unwrap().is_none(), "the old token has its own end");
    assert!(tokens.check(&demo(), renewed.token()).await.unwrap().is_some());
}

#[tokio::test]
async fn renewal_never_extends_the_session() {
    let clock = ManualClock::at(NOW);
    let tokens = Tokens::new(MemoryTokenStore::new().unwrap()).with_clock(clock.clone());
    let tokens = tokens.with_session_lifetime(Duration::from_secs(10_000));
    let first = tokens.issue_for(&demo(), user()).await.unwrap();
    clock.advance(Duration::from_secs(7000));
    let renewed = tokens.renew(&demo(), first.token()).await.unwrap().unwrap();
    assert_eq!(renewed.session().expires_at(), NOW + 10_000);
    clock.advance(Duration::from_secs(3000));
    assert!(tokens.renew(&demo(), renewed.token()).await.unwrap().is_none());
}

#[tokio::test]
async fn sessions_are_ended_one_by_one_or_together() {
    let (tokens, _) = tokens();
    let other_app: AppId = "other".parse().unwrap();
    let mut issued = Vec::new();
    for app in [&demo(), &demo(), &demo(), &other_app] {
        issued.push(tokens.issue_for(app, user()).await.unwrap());
    }
    let live = async |expected: [bool; 4]| {
        for (i, expected) in expected.into_iter().enumerate() {
            let app = if i < 3 { demo() } else { other_app.clone() };
            let found = tokens.check(&app, issued[i].token()).await.unwrap();
            assert_eq!(found.is_some(), expected, "session {i}");
        }
    };
    assert_eq!(tokens.siblings(issued[0].session()).await.unwrap().len(), 3);
    assert_eq!(tokens.sessions(&owner()).await.unwrap().len(), 4);
    assert!(tokens.end_sibling(issued[0].session(), issued[1].session().id()).await.unwrap());
    assert!(!tokens.end_sibling(issued[0].session(), issued[3].session().id()).await.unwrap(), "of another app");
    live([true, false, true, true]).await;
    assert_eq!(tokens.end_others(issued[0].session()).await.unwrap(), 1);
    live([true, false, false, true]).await;
    assert!(tokens.end(issued[0].session()).await.unwrap());
    assert!(!tokens.end(issued[0].session()).await.unwrap());
    live([false, false, false, true]).await;
    assert_eq!(tokens.end_all(&owner()).await.unwrap(), 1);
    live([false; 4]).await;

    let again = tokens.issue_for(&other_app, user()).await.unwrap();
    assert_eq!(tokens.end_all_of(&owner(), &demo()).await.unwrap(), 0);
    assert!(tokens.end_by_id(&owner(), again.session().id()).await.unwrap());
}

#[tokio::test]
async fn limits_refuse_or_replace_sessions() {
    let (tokens, _) = tokens();
    let refusing = tokens.clone().with_limit(SessionLimit::Refuse(1));
    let first = refusing.issue_for(&demo(), user()).await.unwrap();
    assert!(matches!(refusing.issue_for(&demo(), user()).await, Err(IssueError::TooManySessions)));
    let replacing = tokens.with_limit(SessionLimit::NewestWins(1));
    replacing.issue_for(&demo(), user()).await.unwrap();
    assert!(replacing.check(&demo(), first.token()).await.unwrap().is_none());
    // API tokens, one-time tokens and bearer tokens are not counted.
    for new in [NewToken::for_app(), user().one_time(), user().bearer()] {
        replacing.issue_for(&demo(), new).await.unwrap();
    }
    assert_eq!(replacing.sessions(&owner()).await.unwrap().len(), 3);
    let kinds = replacing.sessions(&Owner::App(demo())).await.unwrap();
    assert_eq!(kinds[0].kind(), TokenKind::Api);
}

#[tokio::test]
async fn session_key_is_derived_from_the_first_active_key() {
    let (tokens, _) = tokens();
    let issued = tokens.issue_for(&demo(), user()).await.unwrap();
    let ring = KeyRing::from(rig::secret());
    let key = issued.session_key(&ring, "api").unwrap();
    assert!(format!("{key:?}").contains(".."));
    let expired = KeyRing::new([countersign::Key::from(rig::secret()).with_not_after(NOW - 1)]).unwrap();
    assert!(issued.session_key(&expired, "api").is_none());
}

#[tokio::test]
async fn cookies_have_every_attribute_and_no_token_is_shown() {
    let (tokens, _) = tokens();
    let issued = tokens.issue_for(&demo(), user()).await.unwrap();
    let cookie = issued.cookie("__Host-cs1").unwrap();
    assert!(cookie.is_sensitive());
    let text = cookie.to_str().unwrap();
    let token = issued.token().expose();
    assert_eq!(text, format!("__Host-cs1={token}; Path=/; Max-Age=7200; Secure; HttpOnly; SameSite=Strict"));
    for name in ["cs1", "__Host-", "__Host-a b", "__Host-a;b"] {
        assert!(issued.cookie(name).is_err(), "{name}");
    }
    assert!(issued.cookie_digest().starts_with("cookie:"));
    let shown = format!("{issued:?} {tokens:?} {:?} {:?}", issued.session(), issued.token());
    assert!(!shown.contains(&token[27..]), "{shown}");
}

#[tokio::test]
async fn data_of_a_session_is_limited() {
    assert!(user().with_data(&"x".repeat(2046)).is_ok());
    let error = user().with_data(&"x".repeat(2047)).unwrap_err();
    assert!(error.to_string().contains("2049 bytes"), "{error}");
    let until = user().until(NOW + 10).with_lifetime(Duration::from_secs(100));
    let (tokens, _) = tokens();
    assert_eq!(tokens.issue_for(&demo(), until).await.unwrap().session().expires_at(), NOW + 10);
    assert_eq!(EndReason::Replaced.as_str(), "replaced");
    assert!("u 17".parse::<countersign::token::Subject>().is_err());
    let _: Token = "cs1_x".parse().unwrap();
}
