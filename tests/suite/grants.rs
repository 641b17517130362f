//! Grants, by which share links end before they expire.

use std::{sync::Arc, time::Duration};

use countersign::{
    AppId, Rejection,
    clock::{Clock, ManualClock},
    store::{Found, MemoryTokenStore, TokenStore},
    token::{Grant, IssueError, Issued, IssuedGrant, NewToken, Owner, TokenRef, Tokens},
};
use tokio::{sync::Barrier, task::JoinSet};

use crate::{
    rig::{self, NOW, get, signed_by, signer},
    tokens::Watched,
};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn app(id: &str) -> AppId {
    id.parse().unwrap()
}

fn owner() -> Owner {
    Owner::User("u-17".parse().unwrap())
}

fn user() -> NewToken {
    NewToken::for_user("u-17".parse().unwrap())
}

/// A store of which a test can ask for grants by their text.
struct Rig {
    store: Arc<MemoryTokenStore>,
    tokens: Tokens,
    clock: ManualClock,
}

fn rig() -> Rig {
    let (store, clock) = (Arc::new(MemoryTokenStore::new().unwrap()), ManualClock::at(NOW));
    Rig { tokens: Tokens::new(store.clone()).with_clock(clock.clone()), store, clock }
}

impl Rig {
    async fn login(&self, id: &str) -> Issued {
        self.tokens.issue_for(&app(id), user()).await.unwrap()
    }

    async fn grant(&self, login: &Issued) -> IssuedGrant {
        self.tokens.grant(login.session(), DAY).await.unwrap()
    }

    async fn is_live(&self, grant: &IssuedGrant) -> bool {
        let now = self.clock.wall().as_secs();
        let found = self.store.find(&TokenRef::of_grant(grant.token()), now).await.unwrap();
        matches!(found, Found::Live { .. })
    }
}

#[tokio::test]
async fn grant_lives_until_its_last_second() {
    let rig = rig();
    let login = rig.login("demo").await;
    let issued = rig.grant(&login).await;
    let grant = issued.grant();
    assert_eq!((grant.owner(), grant.app_id()), (&owner(), &app("demo")));
    assert_eq!((grant.issued_at(), grant.expires_at(), issued.expires_in()), (NOW, NOW + 24 * 3600, 24 * 3600));
    assert_eq!(rig.tokens.grants(&owner()).await.unwrap(), std::slice::from_ref(grant));
    rig.clock.advance(DAY - Duration::from_secs(1));
    assert!(rig.is_live(&issued).await);
    rig.clock.advance(Duration::from_secs(1));
    assert!(!rig.is_live(&issued).await);
    assert!(rig.tokens.grants(&owner()).await.unwrap().is_empty());
}

#[tokio::test]
async fn each_grant_is_ended_by_its_id() {
    let rig = rig();
    let login = rig.login("demo").await;
    let (first, second) = (rig.grant(&login).await, rig.grant(&login).await);
    assert_ne!(first.token().expose(), second.token().expose());
    let stranger = Owner::User("u-18".parse().unwrap());
    assert!(!rig.tokens.end_grant(&stranger, first.grant().id()).await.unwrap());
    assert!(rig.tokens.end_grant(&owner(), first.grant().id()).await.unwrap());
    assert!(!rig.tokens.end_grant(&owner(), first.grant().id()).await.unwrap());
    assert!(!rig.is_live(&first).await && rig.is_live(&second).await);
    let text = second.grant().id().to_string();
    assert!(rig.tokens.end_grant(&owner(), text.parse().unwrap()).await.unwrap());
    assert!(!rig.is_live(&second).await);
    assert!(rig.tokens.check(&app("demo"), login.token()).await.unwrap().is_some(), "the session is live");
}

#[tokio::test]
async fn only_the_end_of_all_ends_grants() {
    let rig = rig();
    let (login, other, elsewhere) = (rig.login("demo").await, rig.login("demo").await, rig.login("other").await);
    let (grant, elsewhere_grant) = (rig.grant(&login).await, rig.grant(&elsewhere).await);
    rig.tokens.end_others(other.session()).await.unwrap();
    rig.tokens.end(other.session()).await.unwrap();
    rig.tokens.end_by_id(&owner(), login.session().id()).await.unwrap();
    rig.tokens.end_sibling(other.session(), login.session().id()).await.unwrap();
    assert!(rig.is_live(&grant).await, "a logout ends no grant");
    rig.login("demo").await;
    assert_eq!(rig.tokens.end_all_of(&owner(), &app("demo")).await.unwrap(), 1, "sessions count, grants do not");
    assert!(!rig.is_live(&grant).await && rig.is_live(&elsewhere_grant).await);
    assert_eq!(rig.tokens.end_all(&owner()).await.unwrap(), 1);
    assert!(!rig.is_live(&elsewhere_grant).await);
}

#[tokio::test]
async fn ended_session_gets_no_grant() {
    let rig = rig();
    let login = rig.login("demo").await;
    let renewed = rig.tokens.renew_for(&app("demo"), login.token()).await.unwrap().unwrap();
    let grant = rig.grant(&login).await;
    assert!(rig.tokens.end_grant(&owner(), grant.grant().id()).await.unwrap(), "a renewed session is the same");
    rig.tokens.end(renewed.session()).await.unwrap();
    let error = rig.tokens.grant(login.session(), DAY).await.unwrap_err();
    assert!(matches!(error, IssueError::SessionEnded), "{error:?}");
    assert_eq!(Rejection::from(error).kind().code(), "invalid_token");
    assert!(rig.tokens.grants(&owner()).await.unwrap().is_empty(), "nothing is left of it");
}

#[tokio::test]
async fn grants_are_for_all_but_one_time_tokens() {
    let rig = rig();
    let issue = async |new| rig.tokens.issue_for(&app("demo"), new).await.unwrap();
    let one_time = issue(user().one_time()).await;
    let error = rig.tokens.grant(one_time.session(), DAY).await.unwrap_err();
    assert!(matches!(error, IssueError::OneTimeToken), "{error:?}");
    assert_eq!(Rejection::from(error).kind().code(), "token_not_allowed");
    rig.grant(&issue(user().bearer()).await).await;
    let of_app = rig.grant(&issue(NewToken::for_app()).await).await;
    assert_eq!(of_app.grant().owner(), &Owner::App(app("demo")));
    assert_eq!(of_app.grant().user(), None);
    assert_eq!(rig.tokens.grants(&Owner::App(app("demo"))).await.unwrap().len(), 1);
    assert_eq!(rig.tokens.grants(&owner()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn users_have_a_maximum_of_grants() {
    let Rig { tokens, store, clock } = rig();
    let rig = Rig { tokens: tokens.with_max_grants(2).with_max_sessions(2), store, clock };
    let (login, elsewhere) = (rig.login("demo").await, rig.login("other").await);
    for _ in 0..2 {
        rig.grant(&login).await;
    }
    let error = rig.tokens.grant(login.session(), DAY).await.unwrap_err();
    assert!(matches!(error, IssueError::TooManyGrants), "{error:?}");
    let rejection = Rejection::from(error);
    assert_eq!((rejection.kind().code(), rejection.kind().status().as_u16()), ("too_many_sessions", 429));
    rig.grant(&elsewhere).await;
    rig.login("demo").await;
    let by_default = Tokens::new(rig.store.clone()).with_clock(rig.clock.clone());
    for _ in 2..256 {
        by_default.grant(login.session(), DAY).await.unwrap();
    }
    assert!(by_default.grant(login.session(), DAY).await.is_err());
}

#[tokio::test]
async fn grant_is_no_token() {
    let rig = rig();
    let login = rig.login("demo").await;
    let grant = rig.grant(&login).await;
    let presented = grant.token().expose().parse().unwrap();
    assert!(rig.tokens.check(&app("demo"), &presented).await.unwrap().is_none());
    assert!(rig.tokens.renew_for(&app("demo"), &presented).await.unwrap().is_none());
    let verifier = rig::verifier().0.with_tokens(rig.tokens.clone());
    let request = signed_by(&signer().with_token(presented), NOW, get("/"));
    assert_eq!(rig::code(&verifier, request).await, "invalid_token");
}

#[tokio::test]
async fn debug_shows_no_grant() {
    let rig = rig();
    let grant = rig.grant(&rig.login("demo").await).await;
    let text = grant.token().expose();
    let shown = format!("{grant:?} {:?} {:?} {:?}", grant.token(), grant.grant(), rig.tokens);
    assert!(!shown.contains(&text[28..]) && !shown.contains(&text[5..27]), "{shown}");
    assert!(shown.contains(&grant.grant().id().to_string()), "{shown}");
}

/// 64 grants of one session race with the end of all. Returns the grants that survive, and how many were issued.
async fn race(tokens: &Tokens, new: NewToken) -> (Vec<Grant>, usize) {
    let login = tokens.issue_for(&app("demo"), new).await.unwrap();
    let owner = login.session().owner().clone();
    let barrier = Arc::new(Barrier::new(65));
    let mut racers = JoinSet::new();
    for _ in 0..64 {
        let (tokens, session, barrier) = (tokens.clone(), login.session().clone(), barrier.clone());
        racers.spawn(async move {
            barrier.wait().await;
            usize::from(tokens.grant(&session, DAY).await.is_ok())
        });
    }
    barrier.wait().await;
    tokio::task::yield_now().await;
    tokens.end_all(&owner).await.unwrap();
    let issued = racers.join_all().await.into_iter().sum();
    (tokens.grants(&owner).await.unwrap(), issued)
}

/// Runs on one thread, so that each run has the same orders of calls.
#[tokio::test]
async fn no_grant_survives_the_end_of_all() {
    let tokens = Tokens::new(Watched::new(None).with_pauses());
    let mut all = 0;
    for _ in 0..50 {
        let (left, issued) = race(&tokens, user()).await;
        assert!(left.is_empty(), "{} grants are live", left.len());
        all += issued;
    }
    assert!((1..50 * 64).contains(&all), "the end came before or after all of them: {all}");
}

#[tokio::test]
async fn failed_grant_leaves_nothing() {
    let tokens = Tokens::new(Watched::new(Some("list")));
    let login = tokens.issue_for(&app("demo"), user()).await.unwrap();
    let error = tokens.grant(login.session(), DAY).await.unwrap_err();
    assert!(matches!(error, IssueError::Store(_)), "{error:?}");
    assert!(tokens.grants(&owner()).await.unwrap().is_empty());
}
