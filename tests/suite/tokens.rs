//! Tokens: the stores and their contract, and what `Tokens` makes of them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use countersign::{
    AppId, Caller, Rejection, Signer, StaticKeys, Token, Verifier,
    clock::ManualClock,
    danger::ReportOnlyLayer,
    server::ServiceBody,
    store::{
        Found, MemoryTokenStore, Offer, OwnerTag, Placed, Record, RecordKind, Renewed, Room, StoreError, TokenStore,
        Touched, Which, conformance,
    },
    token::{EndReason, IssueError, Issued, NewToken, Owner, OwnerKey, SessionLimit, TokenKind, TokenRef, Tokens},
};
use http::Request;
use serde::{Deserialize, Serialize};
use tower::{Layer, ServiceExt, service_fn};

use crate::rig::{self, NOW, get, post, signed_by, signer};

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
    let renewed = tokens.renew_for(&demo(), first.token()).await.unwrap().unwrap();
    // The answer was lost, and the client asks again from another machine.
    clock.advance(Duration::from_secs(100));
    let again = tokens.renew_for(&demo(), first.token()).await.unwrap().unwrap();
    assert_eq!(again.token().expose(), renewed.token().expose());
    assert_eq!(again.session(), renewed.session());
    let known = tokens.renewed_for(&demo(), first.token()).await.unwrap().unwrap();
    assert_eq!(known.token().expose(), renewed.token().expose());
    assert_eq!(renewed.session().id(), first.session().id(), "a session keeps its id");
    assert_eq!(renewed.session().expires_at(), NOW + 7000 + 7200);
    assert!(tokens.renewed_for(&demo(), renewed.token()).await.unwrap().is_none());
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
    let renewed = tokens.renew_for(&demo(), first.token()).await.unwrap().unwrap();
    assert_eq!(renewed.session().expires_at(), NOW + 10_000);
    clock.advance(Duration::from_secs(3000));
    assert!(tokens.renew_for(&demo(), renewed.token()).await.unwrap().is_none());
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
}

#[tokio::test]
async fn token_can_outlive_the_default_session() {
    let (tokens, clock) = tokens();
    let year = Duration::from_secs(365 * 24 * 3600);
    let issued = tokens.issue_for(&demo(), NewToken::for_app().with_lifetime(year)).await.unwrap();
    assert_eq!(issued.session().expires_at(), NOW + year.as_secs());
    clock.advance(Duration::from_secs(3600));
    let renewed = tokens.renew_for(&demo(), issued.token()).await.unwrap().unwrap();
    assert_eq!(renewed.session().expires_at(), NOW + year.as_secs(), "a renewal ends no token earlier");
    let until = NewToken::for_app().until(NOW + 2 * year.as_secs());
    let issued = tokens.issue_for(&demo(), until).await.unwrap();
    assert_eq!(issued.session().session_expires_at(), NOW + 2 * year.as_secs());
    assert_eq!(issued.expires_in(), 7200);
}

#[tokio::test]
async fn too_many_renewals_are_an_error() {
    let (tokens, _) = tokens();
    let mut issued = tokens.issue_for(&demo(), user()).await.unwrap();
    for _ in 0..4 {
        issued = tokens.renew_for(&demo(), issued.token()).await.unwrap().unwrap();
    }
    let error = tokens.renew_for(&demo(), issued.token()).await.unwrap_err();
    assert!(matches!(error, IssueError::TooManyRenewals), "{error}");
    assert_eq!(Rejection::from(error).kind().code(), "too_many_sessions");
    assert!(tokens.check(&demo(), issued.token()).await.unwrap().is_some());
}

#[tokio::test]
async fn ends_of_api_tokens_have_no_reason() {
    let rig = rig_of(None, |tokens| tokens);
    for (new, reason) in [(user(), Some("revoked")), (NewToken::for_app(), None)] {
        let issued = rig.issue(new).await;
        rig.tokens.end(issued.session()).await.unwrap();
        let rejection = rig.verify(with_token(signer(), issued.token(), get("/"))).await.unwrap_err();
        assert_eq!((rejection.kind().code(), rejection.reason()), ("invalid_token", reason));
    }
}

/// A store that counts its calls, and fails some of them. It can pause before its calls, so that racing calls meet in many
/// orders.
#[derive(Clone)]
pub(crate) struct Watched {
    pub(crate) inner: Arc<MemoryTokenStore>,
    pub(crate) finds: Arc<AtomicUsize>,
    writes: Arc<AtomicUsize>,
    fails: Option<&'static str>,
    pauses: Option<Arc<AtomicUsize>>,
}

impl Watched {
    pub(crate) fn new(fails: Option<&'static str>) -> Self {
        Self::over(MemoryTokenStore::new().unwrap(), fails)
    }

    pub(crate) fn over(inner: MemoryTokenStore, fails: Option<&'static str>) -> Self {
        let inner = Arc::new(inner);
        Self { inner, finds: Arc::default(), writes: Arc::default(), fails, pauses: None }
    }

    pub(crate) fn with_pauses(self) -> Self {
        Self { pauses: Some(Arc::default()), ..self }
    }

    async fn pause(&self) {
        let call = self.pauses.as_ref().map_or(0, |calls| calls.fetch_add(1, SeqCst));
        for _ in 0..call.wrapping_mul(0x9e37_79b9) % 61 {
            tokio::task::yield_now().await;
        }
    }

    fn fail(&self, name: &str) -> Result<(), StoreError> {
        match self.fails == Some(name) {
            true => Err(StoreError::new("the token store is down")),
            false => Ok(()),
        }
    }
}

impl TokenStore for Watched {
    fn owner_key(&self) -> &OwnerKey {
        self.inner.owner_key()
    }

    async fn put(&self, at: &TokenRef, record: &Record, room: Room, now: u64) -> Result<Placed, StoreError> {
        self.pause().await;
        self.inner.put(at, record, room, now).await
    }

    async fn find(&self, at: &TokenRef, now: u64) -> Result<Found, StoreError> {
        self.finds.fetch_add(1, SeqCst);
        self.fail("find")?;
        self.inner.find(at, now).await
    }

    async fn touch(&self, at: &TokenRef, now: u64, until: Option<u64>) -> Result<Touched, StoreError> {
        self.writes.fetch_add(1, SeqCst);
        self.fail("touch")?;
        self.inner.touch(at, now, until).await
    }

    async fn take(&self, at: &TokenRef, now: u64) -> Result<bool, StoreError> {
        self.writes.fetch_add(1, SeqCst);
        self.fail("take")?;
        self.inner.take(at, now).await
    }

    async fn renew(&self, old: &TokenRef, offer: &Offer, now: u64) -> Result<Renewed, StoreError> {
        self.inner.renew(old, offer, now).await
    }

    async fn end(
        &self,
        owner: &OwnerTag,
        kind: RecordKind,
        which: Which<'_>,
        remember: u64,
        now: u64,
    ) -> Result<usize, StoreError> {
        self.pause().await;
        self.inner.end(owner, kind, which, remember, now).await
    }

    async fn list(&self, owner: &OwnerTag, kind: RecordKind, now: u64) -> Result<Vec<Record>, StoreError> {
        self.pause().await;
        self.fail(if kind == RecordKind::Session { "list" } else { "list grants" })?;
        self.inner.list(owner, kind, now).await
    }
}

struct Rig {
    store: Watched,
    tokens: Tokens,
    verifier: Verifier<StaticKeys>,
    clock: ManualClock,
}

fn rig_of(fails: Option<&'static str>, configure: impl FnOnce(Tokens) -> Tokens) -> Rig {
    let (verifier, clock) = rig::verifier();
    let store = Watched::new(fails);
    let tokens = configure(Tokens::new(store.clone()).with_clock(clock.clone()));
    Rig { store, verifier: verifier.with_tokens(tokens.clone()), tokens, clock }
}

impl Rig {
    async fn issue(&self, new: NewToken) -> Issued {
        self.tokens.issue_for(&demo(), new).await.unwrap()
    }

    async fn verify(&self, request: Request<&'static str>) -> Result<Request<ServiceBody>, Rejection> {
        rig::verify(&self.verifier, request).await
    }
}

fn with_token(signer: Signer, token: &Token, request: Request<&'static str>) -> Request<&'static str> {
    signed_by(&signer.with_token(token.clone()), NOW, request)
}

fn code(result: Result<Request<ServiceBody>, Rejection>) -> &'static str {
    result.map_or_else(|rejection| rejection.kind().code(), |_| "accepted")
}

#[tokio::test]
async fn verifier_gives_the_session_of_a_live_token() {
    let rig = rig_of(None, |tokens| tokens.with_end_reasons(Duration::from_secs(60)));
    let issued = rig.issue(user()).await;
    let verified = rig.verify(with_token(signer(), issued.token(), get("/"))).await.unwrap();
    let caller = verified.extensions().get::<Caller>().unwrap();
    assert_eq!(caller.session(), Some(issued.session()));

    let verified = rig.verify(rig::signed(get("/"))).await.unwrap();
    assert!(verified.extensions().get::<Caller>().unwrap().session().is_none(), "no token is no session");

    rig.tokens.end(issued.session()).await.unwrap();
    let rejection = rig.verify(with_token(signer(), issued.token(), get("/"))).await.unwrap_err();
    assert_eq!((rejection.kind().code(), rejection.reason()), ("invalid_token", Some("revoked")));
    let problem: serde_json::Value = serde_json::from_slice(rejection.to_response().body()).unwrap();
    assert_eq!((&problem["reason"], &problem["status"]), (&"revoked".into(), &401.into()));
}

#[tokio::test]
async fn invalid_tokens_get_one_answer() {
    let rig = rig_of(None, |tokens| tokens.with_end_reasons(Duration::from_secs(60)));
    let ended = rig.issue(user()).await;
    rig.tokens.end(ended.session()).await.unwrap();
    let live = rig.issue(user()).await;
    let other = || Signer::new("other".parse().unwrap(), countersign::Secret::new("f".repeat(32)).unwrap());
    let unknown = format!("{}AAAA", &live.token().expose()[..66]).parse().unwrap();
    let mut answers = Vec::new();
    for (signer, token) in [(other(), ended.token()), (other(), live.token()), (signer(), &unknown)] {
        let rejection = rig.verify(with_token(signer, token, get("/"))).await.unwrap_err();
        answers.push(rejection.to_response());
    }
    for answer in &answers {
        assert_eq!((answer.headers(), answer.body()), (answers[0].headers(), answers[0].body()));
        assert_eq!(answer.headers()["x-error-code"], "invalid_token");
    }
    let before = rig.store.finds.load(SeqCst);
    for token in ["tok_of_another_system", "cs1_short"] {
        let result = rig.verify(with_token(signer(), &token.parse().unwrap(), get("/"))).await;
        assert_eq!(code(result), "invalid_token", "{token}");
    }
    assert_eq!(rig.store.finds.load(SeqCst), before, "the store is not asked for tokens that are not its own");
}

#[tokio::test]
async fn unproved_requests_ask_no_token_store() {
    let rig = rig_of(None, |tokens| tokens);
    let issued = rig.issue(user()).await;
    let wrong = Signer::new(demo(), countersign::Secret::new("w".repeat(32)).unwrap());
    assert_eq!(code(rig.verify(with_token(wrong, issued.token(), get("/"))).await), "invalid_signature");
    assert_eq!(rig.store.finds.load(SeqCst), 0);
}

#[tokio::test]
async fn failing_token_store_is_503_and_a_failing_touch_is_not() {
    for (fails, new, expected) in [
        (Some("find"), user(), "unavailable"),
        (Some("take"), user().one_time(), "unavailable"),
        (Some("touch"), user(), "accepted"),
    ] {
        let rig = rig_of(fails, |tokens| tokens.with_idle_timeout(Duration::from_secs(600)));
        let issued = rig.issue(new).await;
        rig.clock.advance(Duration::from_secs(200));
        let request = signed_by(&signer().with_token(issued.token().clone()), NOW + 200, get("/"));
        assert_eq!(code(rig.verify(request).await), expected, "{fails:?}");
    }
}

#[tokio::test]
async fn one_time_token_is_spent_by_an_accepted_request_alone() {
    let rig = rig_of(None, |tokens| tokens);
    let issued = rig.issue(user().one_time()).await;
    let order = || post("/", "text/plain", "order");
    let mut wrong_body = with_token(signer(), issued.token(), order());
    *wrong_body.body_mut() = "other";
    assert_eq!(code(rig.verify(wrong_body).await), "body_mismatch");
    let used_nonce = rig::signed(get("/"));
    let nonce = used_nonce.headers()["x-nonce"].clone();
    rig.verify(used_nonce).await.unwrap();
    let (mut parts, body) = order().into_parts();
    let signer_of_user = signer().with_token(issued.token().clone());
    let nonce = nonce.to_str().unwrap().parse().unwrap();
    let payload = countersign::Payload::Bytes(body.as_bytes());
    signer_of_user.sign_at(&mut parts, payload, NOW.try_into().unwrap(), nonce).unwrap();
    assert_eq!(code(rig.verify(Request::from_parts(parts, body)).await), "replayed_nonce");
    assert_eq!(rig.store.writes.load(SeqCst), 0);

    let spend = || rig.verify(with_token(signer(), issued.token(), order()));
    assert_eq!(code(spend().await), "accepted");
    assert_eq!(code(spend().await), "invalid_token");
}

#[tokio::test]
async fn kinds_of_tokens_have_their_places() {
    let rig = rig_of(None, |tokens| tokens);
    let (bearer, one_time) = (rig.issue(user().bearer()).await, rig.issue(user().one_time()).await);
    let result = rig.verify(with_token(signer(), bearer.token(), get("/"))).await;
    assert_eq!(code(result), "token_not_allowed");
    let streaming = rig.verifier.clone().with_streamed_bodies();
    let send = async |request| code(rig::verify(&streaming, with_token(signer(), one_time.token(), request)).await);
    assert_eq!(send(post("/", "text/plain", "order")).await, "token_not_allowed");
    assert_eq!(send(post("/", "text/plain", "")).await, "accepted", "there is no body that could be wrong");
}

#[tokio::test]
async fn report_only_spends_and_touches_nothing() {
    let rig = rig_of(None, |tokens| tokens.with_idle_timeout(Duration::from_secs(600)));
    let issued = rig.issue(user().one_time()).await;
    let service = service_fn(|request: Request<axum::body::Body>| async move {
        let session = request.extensions().get::<Caller>().and_then(Caller::session).is_some();
        Ok::<_, std::convert::Infallible>(http::Response::new(session.to_string()))
    });
    let layer = ReportOnlyLayer::new(rig.verifier.clone(), |_, _| {});
    let service = layer.layer(service);
    for _ in 0..2 {
        let request = with_token(signer(), issued.token(), get("/")).map(|_| axum::body::Body::empty());
        let response = service.clone().oneshot(request).await.unwrap();
        let _ = rig::bytes(response.into_body()).await;
    }
    assert_eq!(rig.store.writes.load(SeqCst), 0);
    assert_eq!(code(rig.verify(with_token(signer(), issued.token(), get("/"))).await), "accepted");
}

#[tokio::test]
async fn use_of_a_session_is_stored_now_and_then() {
    let rig = rig_of(None, |tokens| tokens.with_idle_timeout(Duration::from_secs(800)));
    let issued = rig.issue(user()).await;
    let send = async |at: u64| {
        let request = signed_by(&signer().with_token(issued.token().clone()), at, get("/"));
        code(rig.verify(request).await)
    };
    for _ in 0..9 {
        assert_eq!(send(NOW).await, "accepted");
    }
    assert_eq!(rig.store.writes.load(SeqCst), 0, "the session was stored just now");
    rig.clock.advance(Duration::from_secs(101));
    assert_eq!((send(NOW + 101).await, rig.store.writes.load(SeqCst)), ("accepted", 1));
    // This use is not stored. The session is live for the timeout after it all the same.
    rig.clock.advance(Duration::from_secs(99));
    assert_eq!((send(NOW + 200).await, rig.store.writes.load(SeqCst)), ("accepted", 1));
    rig.clock.advance(Duration::from_secs(799));
    assert_eq!((send(NOW + 999).await, rig.store.writes.load(SeqCst)), ("accepted", 2));
    // It is live for at most nine eighths of the timeout after its last use.
    rig.clock.advance(Duration::from_secs(900));
    assert_eq!(send(NOW + 1899).await, "invalid_token");
}

#[tokio::test]
async fn first_use_of_a_successor_starts_the_overlap() {
    let rig = rig_of(None, |tokens| tokens);
    let first = rig.issue(user()).await;
    let renewed = rig.tokens.renew_for(&demo(), first.token()).await.unwrap().unwrap();
    let send = async |token: &Token, at: u64| {
        code(rig.verify(signed_by(&signer().with_token(token.clone()), at, get("/"))).await)
    };
    rig.clock.advance(Duration::from_secs(1000));
    assert_eq!(send(first.token(), NOW + 1000).await, "accepted");
    assert_eq!(send(renewed.token(), NOW + 1000).await, "accepted");
    rig.clock.advance(Duration::from_secs(299));
    assert_eq!(send(first.token(), NOW + 1299).await, "accepted");
    rig.clock.advance(Duration::from_secs(1));
    assert_eq!(send(first.token(), NOW + 1300).await, "invalid_token");
    assert_eq!(send(renewed.token(), NOW + 1300).await, "accepted");
}

/// A body that arrives after some time.
#[tokio::test]
async fn session_ended_while_the_body_arrives_is_rejected() {
    let rig = rig_of(None, |tokens| tokens);
    let issued = rig.issue(user()).await;
    for (wait, expected) in [(5, "accepted"), (6, "invalid_token")] {
        let (tokens, session, clock) = (rig.tokens.clone(), issued.session().clone(), rig.clock.clone());
        let body = futures_util::stream::once(async move {
            tokio::task::yield_now().await;
            clock.advance(Duration::from_secs(wait));
            if wait > 5 {
                tokens.end(&session).await.unwrap();
            }
            Ok::<_, std::convert::Infallible>(http_body::Frame::data(Bytes::from("order")))
        });
        let request = with_token(signer(), issued.token(), post("/", "text/plain", "order"));
        let body = countersign::server::UnverifiedBody::new(http_body_util::StreamBody::new(Box::pin(body)));
        let result = rig.verifier.verify(request.map(|_| body)).await;
        assert_eq!(result.map_or_else(|rejection| rejection.kind().code(), |_| "accepted"), expected);
    }
}
