//! The owner of a submission: a caller never gets the answer to another one.

use std::time::Duration;

use axum::Router;
use countersign::{
    AppId, Scheme, Secret, Signer, Token, TokenLocation,
    danger::ReportOnlyLayer,
    server::RequireLayer,
    store::{MemoryTokenStore, StoreError},
    submission::{SubmissionScope, SubmitOnceLayer},
    token::{CheckedToken, NewToken, Owner, TokenCheck, Tokens},
};
use http::{Method, Request, header};
use tower::ServiceBuilder;

use super::shop::{Answer, Shop, by_key, request, scheme, send, signer, verifier};
use crate::rig::{self, NOW, signed_by};

/// Another app, with the key of [`rig::keys`].
fn other_app() -> Signer {
    Signer::new("other".parse().unwrap(), Secret::new("f".repeat(32)).unwrap()).with_scheme(scheme())
}

async fn pay(router: &Router, signer: &Signer) -> Answer {
    send(router, signed_by(signer, NOW, request("/pay", Some("k"), "order"))).await
}

/// Each caller runs once, with the same key and content, and then gets its own answer.
async fn assert_apart(router: &Router, callers: &[Signer]) {
    for (i, caller) in callers.iter().enumerate() {
        let first = pay(router, caller).await;
        assert_eq!((first.brief(), &first.body), ((201, "false"), &format!("run {}, key k: order", i + 1)));
    }
    for (i, caller) in callers.iter().enumerate() {
        let again = pay(router, caller).await;
        assert_eq!((again.brief(), &again.body), ((201, "true"), &format!("run {}, key k: order", i + 1)));
    }
}

fn tokens() -> Tokens {
    let clock = countersign::clock::ManualClock::at(NOW);
    Tokens::new(MemoryTokenStore::new().unwrap()).with_clock(clock)
}

async fn token(tokens: &Tokens, app: &str, new: NewToken) -> Token {
    tokens.issue_for(&app.parse().unwrap(), new).await.unwrap().token().clone()
}

fn of(user: &str) -> NewToken {
    NewToken::for_user(user.parse().unwrap())
}

#[tokio::test]
async fn apps_and_users_are_apart() {
    let tokens = tokens();
    let router = Shop::new().router_below(&by_key(), verifier().with_tokens(tokens.clone()));
    let callers = [
        signer(),
        other_app(),
        signer().with_token(token(&tokens, "demo", of("u-17")).await),
        signer().with_token(token(&tokens, "demo", of("u-18")).await),
        // The user reads like the app.
        signer().with_token(token(&tokens, "demo", of("demo")).await),
        signer().with_token(token(&tokens, "demo", NewToken::for_app()).await),
        other_app().with_token(token(&tokens, "other", of("u-17")).await),
    ];
    assert_apart(&router, &callers).await;
}

#[tokio::test]
async fn renewed_token_keeps_the_scope() {
    let (tokens, shop) = (tokens(), Shop::new());
    let router = shop.router_below(&by_key(), verifier().with_tokens(tokens.clone()));
    let old = token(&tokens, "demo", of("u-17")).await;
    assert_eq!(pay(&router, &signer().with_token(old.clone())).await.brief(), (201, "false"));
    let app: AppId = "demo".parse().unwrap();
    let session = tokens.check(&app, &old).await.unwrap().unwrap();
    let another = token(&tokens, "demo", of("u-17")).await;
    assert_ne!(old.expose(), another.expose());
    // Another token of the same user, as after a renewal or a new login.
    assert_eq!(pay(&router, &signer().with_token(another)).await.brief(), (201, "true"));
    // The owner, and not the tag, is in the scope: another owner key changes nothing.
    let scope = SubmissionScope::new(app).with_owner(session.owner().clone());
    let at = scope.by_key(&scheme(), &Method::POST, "/pay", &"k".parse().unwrap());
    assert_eq!(shop.runs(), 1);
    let by_hand = SubmissionScope::new("demo".parse().unwrap()).with_owner(Owner::User("u-17".parse().unwrap()));
    assert_eq!(at.key(), by_hand.by_key(&scheme(), &Method::POST, "/pay", &"k".parse().unwrap()).key());
}

#[tokio::test]
async fn token_in_a_cookie_has_the_same_scope() {
    let (tokens, shop) = (tokens(), Shop::new());
    let location = TokenLocation::FieldOrCookie("__Host-cs1".to_owned());
    let both = scheme().with_token_location(location).unwrap();
    let verifier = rig::verifier().0.with_scheme(both).with_fingerprints().with_tokens(tokens.clone());
    let router = shop.router_below(&by_key(), verifier);
    let token = token(&tokens, "demo", of("u-17")).await;
    assert_eq!(pay(&router, &signer().with_token(token.clone())).await.brief(), (201, "false"));
    let in_cookie = scheme().with_token_location(TokenLocation::Cookie("__Host-cs1".to_owned())).unwrap();
    let signer = rig::signer_of(in_cookie).with_token(token);
    assert_eq!(pay(&router, &signer).await.brief(), (201, "true"));
    assert_eq!(shop.runs(), 1);
}

#[tokio::test]
async fn signed_bearer_token_is_no_part_of_the_content() {
    let (tokens, shop) = (tokens(), Shop::new());
    let bearer = Scheme::new()
        .with_signed_headers([super::shop::IDEMPOTENCY_KEY, header::AUTHORIZATION])
        .unwrap()
        .with_token_location(TokenLocation::Bearer)
        .unwrap();
    let verifier = rig::verifier().0.with_scheme(bearer.clone()).with_fingerprints().with_tokens(tokens.clone());
    let router = shop.router_below(&SubmitOnceLayer::by_key(&bearer).unwrap(), verifier);
    for expected in ["false", "true"] {
        let token = token(&tokens, "demo", of("u-17")).await;
        let mut request = request("/pay", Some("k"), "order");
        let value = format!("Bearer {}", token.expose()).parse().unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, value);
        let signer = rig::signer_of(bearer.clone()).with_token(token);
        assert_eq!(send(&router, signed_by(&signer, NOW, request)).await.brief(), (201, expected));
    }
    assert_eq!(shop.runs(), 1);
}

/// A system of tokens that are the ids of users.
struct Sessions;

impl TokenCheck for Sessions {
    async fn check(&self, _: &AppId, token: &Token) -> Result<Option<CheckedToken>, StoreError> {
        let user = token.expose().split('.').next().unwrap_or_default();
        Ok(Some(CheckedToken::new(user.parse().map_err(StoreError::new)?)))
    }
}

#[tokio::test]
async fn users_of_other_systems_are_apart() {
    let shop = Shop::new();
    let router = shop.router_below(&by_key(), verifier().with_token_check(Sessions));
    let with = |token: &str| signer().with_token(token.parse().unwrap());
    assert_apart(&router, &[with("u-17"), with("u-18"), signer()]).await;
    // A refreshed token of the same user.
    assert_eq!(pay(&router, &with("u-17.2")).await.brief(), (201, "true"));
    assert_eq!(shop.runs(), 3);
}

#[tokio::test]
async fn unchecked_token_without_a_scope_is_misconfigured() {
    let shop = Shop::new();
    let signer = signer().with_token("tok_1".parse().unwrap());
    let router = shop.router(&by_key());
    assert_eq!(pay(&router, &signer).await.brief(), (500, "misconfigured"));
    let router = shop.router(&by_key().with_scope(|_| String::new()));
    assert_eq!(pay(&router, &signer).await.brief(), (500, "misconfigured"), "an empty scope tells no callers apart");
    assert_eq!(shop.runs(), 0);
    let router = shop.router(&by_key().with_scope(|_| "user of the token".to_owned()));
    assert_eq!(pay(&router, &signer).await.brief(), (201, "false"));
}

#[tokio::test]
async fn tenants_are_apart() {
    let shop = Shop::new();
    let tenants = scheme().with_signed_headers([super::shop::IDEMPOTENCY_KEY, "x-tenant".parse().unwrap()]).unwrap();
    let layer = SubmitOnceLayer::by_key(&tenants).unwrap().with_scope(|parts| {
        parts.headers.get("x-tenant").and_then(|tenant| tenant.to_str().ok()).unwrap_or_default().to_owned()
    });
    let verifier = rig::verifier().0.with_scheme(tenants.clone()).with_fingerprints();
    let router = shop.router_below(&layer, verifier);
    for round in ["false", "true"] {
        for (run, tenant) in [(1, Some("7")), (2, Some("8")), (3, None)] {
            let mut request = request("/pay", Some("k"), "order");
            if let Some(tenant) = tenant {
                request.headers_mut().insert("x-tenant", tenant.parse().unwrap());
            }
            let answer = send(&router, signed_by(&rig::signer_of(tenants.clone()), NOW, request)).await;
            assert_eq!((answer.brief(), &answer.body), ((201, round), &format!("run {run}, key k: order")));
        }
    }
}

#[tokio::test]
async fn panicking_scope_runs_nothing() {
    let shop = Shop::new();
    let router = shop.router(&by_key().with_scope(|_| panic!("a scope")));
    assert_eq!(pay(&router, &signer()).await.brief(), (500, "misconfigured"));
    assert_eq!(shop.runs(), 0);
}

#[tokio::test]
async fn callers_of_one_scope_share_no_answers_by_fingerprint() {
    let shop = Shop::new();
    let tokens = tokens();
    let layer = SubmitOnceLayer::by_fingerprint(Duration::from_secs(10));
    let router = shop.router_below(&layer, verifier().with_tokens(tokens.clone()));
    let send_by = |signer: Signer| {
        let router = router.clone();
        async move { send(&router, signed_by(&signer, NOW, request("/pay", None, "order"))).await }
    };
    assert_eq!(send_by(signer()).await.brief(), (201, "false"));
    let again = send_by(signer()).await;
    assert_eq!((again.brief(), &again.json()["first_status"]), ((409, "duplicate_submission"), &201.into()));
    // A user has a scope, and gets the answer.
    let user = signer().with_token(token(&tokens, "demo", of("u-17")).await);
    assert_eq!(send_by(user.clone()).await.brief(), (201, "false"));
    assert_eq!(send_by(user).await.brief(), (201, "true"));
    assert_eq!(shop.runs(), 2);
}

#[tokio::test]
async fn layer_without_a_verifier_is_misconfigured() {
    let shop = Shop::new();
    let router = shop.routes().layer(by_key());
    assert_eq!(send(&router, request("/pay", Some("k"), "order")).await.brief(), (500, "misconfigured"));
    assert_eq!(shop.runs(), 0);
}

#[tokio::test]
async fn unverified_request_below_a_report_runs_unguarded() {
    let shop = Shop::new();
    let report = ReportOnlyLayer::new(verifier(), |_, _| ());
    let router = shop.routes().layer(ServiceBuilder::new().layer(report).layer(by_key()));
    for _ in 0..2 {
        assert_eq!(send(&router, request("/pay", Some("k"), "order")).await.brief(), (201, ""));
    }
    for expected in ["false", "true"] {
        let signed = signed_by(&signer(), NOW, request("/pay", Some("k"), "order"));
        assert_eq!(send(&router, signed).await.brief(), (201, expected));
    }
    assert_eq!(shop.runs(), 3);
}

#[tokio::test]
async fn streamed_bodies_are_misconfigured() {
    let shop = Shop::new();
    let router = shop.router_below(&by_key(), verifier().with_streamed_bodies());
    assert_eq!(pay(&router, &signer()).await.brief(), (500, "misconfigured"));
    assert_eq!(shop.runs(), 0);
    // Without a body there is nothing to stream.
    let empty = signed_by(&signer(), NOW, request("/pay", Some("k"), ""));
    assert_eq!(send(&router, empty).await.brief(), (201, "false"));
}

#[tokio::test]
async fn authorization_above_the_layer_holds_for_replays() {
    let shop = Shop::new();
    let tokens = tokens();
    let stack = ServiceBuilder::new()
        .layer(verifier().with_tokens(tokens.clone()).into_layer())
        .layer(RequireLayer::user_token())
        .layer(by_key());
    let router = shop.routes().layer(stack);
    let user = signer().with_token(token(&tokens, "demo", of("u-17")).await);
    assert_eq!(pay(&router, &user).await.brief(), (201, "false"));
    assert_eq!(pay(&router, &signer()).await.brief(), (401, "missing_token"));
}

#[tokio::test]
async fn rejected_request_leaves_no_submission() {
    let shop = Shop::new();
    let layer = by_key();
    let router = shop.router(&layer);
    let mut changed: Request<&'static str> = signed_by(&signer(), NOW, request("/pay", Some("k"), "order"));
    *changed.body_mut() = "other";
    assert_eq!(send(&router, changed).await.brief(), (401, "body_mismatch"));
    let at = SubmissionScope::new("demo".parse().unwrap());
    let at = at.by_key(&scheme(), &Method::POST, "/pay", &"k".parse().unwrap());
    assert_eq!(layer.state(&at).await.unwrap(), None);
}
