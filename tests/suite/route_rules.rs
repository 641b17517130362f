//! Rules for routes: `RequireLayer`, `TokenLayer`, and the extractors.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{Router, body::Body, routing::get};
use countersign::{
    Caller, KeyRing, Scheme, Signer, TokenLocation, Verifier,
    clock::ManualClock,
    danger::ReportOnlyLayer,
    server::{RequireLayer, TokenLayer},
    store::{MemoryTokenStore, StaticKeys},
    token::{ApiSession, Issued, NewToken, Session, Tokens, UserSession},
};
use http::{Request, Response, StatusCode};
use tower::{Layer, ServiceExt, service_fn};

use crate::rig::{self, NOW, signed_by};

struct Rig {
    tokens: Tokens,
    verifier: Verifier<StaticKeys>,
    clock: ManualClock,
}

fn rig() -> Rig {
    let (verifier, clock) = rig::verifier();
    let tokens = Tokens::new(MemoryTokenStore::new().unwrap()).with_clock(clock.clone()).with_session_keys();
    Rig { verifier: verifier.with_tokens(tokens.clone()), tokens, clock }
}

impl Rig {
    async fn issue(&self, new: NewToken) -> Issued {
        self.tokens.issue_for(&"demo".parse().unwrap(), new).await.unwrap()
    }
}

fn user() -> NewToken {
    NewToken::for_user("u-17".parse().unwrap())
}

fn request(path: &str) -> Request<&'static str> {
    Request::get(path).body("").unwrap()
}

fn signed(signer: &Signer, path: &str) -> Request<&'static str> {
    signed_by(signer, NOW, request(path))
}

async fn send(router: &Router, request: Request<&'static str>) -> Response<Body> {
    router.clone().oneshot(request.map(Body::from)).await.unwrap()
}

/// The code of a refusal, or the status.
fn code<B>(response: &Response<B>) -> String {
    match response.headers().get("x-error-code") {
        Some(code) => code.to_str().unwrap().to_owned(),
        None => response.status().as_u16().to_string(),
    }
}

/// A route for each rule, below the verifier.
fn routes(verifier: Verifier<StaticKeys>) -> Router {
    let ok = || get(|| async { "ok" });
    Router::new()
        .route("/signature", ok())
        .route("/token", ok().layer(RequireLayer::token()))
        .route("/user", ok().layer(RequireLayer::user_token()))
        .route("/api", ok().layer(RequireLayer::api_token()))
        .route("/app-key", ok().layer(RequireLayer::app_key()))
        .route("/extract/token", get(|_: Session| async { "ok" }))
        .route("/extract/user", get(|session: UserSession| async move { session.user().to_string() }))
        .route("/extract/api", get(|session: ApiSession| async move { session.session().app_id().to_string() }))
        .layer(verifier.into_layer())
}

#[tokio::test]
async fn each_rule_answers_each_proof() {
    let rig = rig();
    let router = routes(rig.verifier.clone());
    let (of_user, of_app, ended) =
        (rig.issue(user()).await, rig.issue(NewToken::for_app()).await, rig.issue(user()).await);
    let key_of = |issued: &Issued| issued.session_key(&KeyRing::from(rig::secret()), "").unwrap();
    let session_signer =
        |issued: &Issued, key| Signer::for_session("demo".parse().unwrap(), issued.token().clone(), key);
    rig.tokens.end(ended.session()).await.unwrap();
    let with = |issued: &Issued| Some(rig::signer().with_token(issued.token().clone()));
    let proofs = [
        None,
        Some(Signer::new("demo".parse().unwrap(), countersign::Secret::new("x".repeat(32)).unwrap())),
        Some(rig::signer()),
        with(&of_app),
        with(&of_user),
        Some(session_signer(&of_user, key_of(&of_user))),
        Some(session_signer(&ended, key_of(&ended))),
    ];
    let (bad, ended, missing, other, key) =
        ("invalid_signature", "invalid_token", "missing_token", "token_not_allowed", "key_not_allowed");
    // no proof, a bad one, the app's key: without a token, with an API token, with a user's; a session key: live, ended
    let table = [
        ("/signature", ["unsigned", bad, "200", "200", "200", "200", ended]),
        ("/token", ["unsigned", bad, missing, "200", "200", "200", ended]),
        ("/user", ["unsigned", bad, missing, other, "200", "200", ended]),
        ("/api", ["unsigned", bad, missing, "200", other, other, ended]),
        ("/app-key", ["unsigned", bad, "200", "200", "200", key, ended]),
        ("/extract/token", ["unsigned", bad, missing, "200", "200", "200", ended]),
        ("/extract/user", ["unsigned", bad, missing, other, "200", "200", ended]),
        ("/extract/api", ["unsigned", bad, missing, "200", other, other, ended]),
    ];
    for (path, expected) in table {
        for (i, (proof, expected)) in proofs.iter().zip(expected).enumerate() {
            let request = proof.as_ref().map_or_else(|| request(path), |signer| signed(signer, path));
            assert_eq!(code(&send(&router, request).await), expected, "{path}, proof {i}");
        }
    }
}

#[tokio::test]
async fn rules_without_a_verifying_layer_are_misconfigured() {
    let rig = rig();
    for layer in [RequireLayer::token(), RequireLayer::user_token(), RequireLayer::api_token(), RequireLayer::app_key()]
    {
        let router = Router::new().route("/", get(|| async { "ok" }).layer(layer));
        assert_eq!(code(&send(&router, request("/")).await), "misconfigured");
    }
    let router = Router::new().route("/", get(|_: Session| async { "ok" }));
    assert_eq!(code(&send(&router, request("/")).await), "misconfigured");
    let bypassing = rig.verifier.clone().with_insecure_bypass(|_, _| true);
    assert_eq!(code(&send(&routes(bypassing), request("/token")).await), "misconfigured");

    // A verifier without a token store checks no token.
    let (verifier, _) = rig::verifier();
    let issued = rig.issue(user()).await;
    let signer = rig::signer().with_token(issued.token().clone());
    assert_eq!(code(&send(&routes(verifier), signed(&signer, "/token")).await), "misconfigured");
}

#[tokio::test]
async fn rules_below_a_report_only_layer_let_unproved_requests_in() {
    let rig = rig();
    let inner = || {
        let service = service_fn(|_: Request<_>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
        ReportOnlyLayer::new(rig.verifier.clone(), |_, _| {}).layer(RequireLayer::token().layer(service))
    };
    let unsigned = inner().oneshot(request("/").map(Body::from)).await.unwrap();
    assert_eq!(code(&unsigned), "200");
    let without_token = inner().oneshot(rig::signed(request("/")).map(Body::from)).await.unwrap();
    assert_eq!(code(&without_token), "missing_token", "the request was proved");
}

#[tokio::test]
async fn refused_tokens_have_the_challenges_of_their_place() {
    let rig = rig();
    let challenges = |response: &Response<Body>| {
        let values = response.headers().get_all("www-authenticate").iter();
        values.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for (place, bearer) in [(TokenLocation::Bearer, true), (TokenLocation::Field, false)] {
        let scheme = Scheme::new().with_token_location(place).unwrap();
        let router = routes(rig.verifier.clone().with_scheme(scheme.clone()));
        let signer = rig::signer_of(scheme);
        let unknown = signer.clone().with_token("tok_of_nobody".parse().unwrap());
        for (signer, code, of_bearer) in
            [(signer, "missing_token", "Bearer"), (unknown, "invalid_token", "Bearer error=\"invalid_token\"")]
        {
            let response = send(&router, signed(&signer, "/token")).await;
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
            let mut expected = vec![format!("CS1-HMAC-SHA256 error=\"{code}\"")];
            expected.extend(bearer.then(|| of_bearer.to_owned()));
            assert_eq!(challenges(&response), expected);
        }
    }
    let router = Router::new().route("/", get(|| async { "ok" })).layer(TokenLayer::new(rig.tokens.clone()));
    assert_eq!(challenges(&send(&router, request("/")).await), ["Bearer"]);
    let invalid = Request::get("/").header("authorization", "Bearer tok_1").body("").unwrap();
    assert_eq!(challenges(&send(&router, invalid).await), ["Bearer error=\"invalid_token\""]);
}

fn bearer_router(tokens: &Tokens) -> Router {
    Router::new()
        .route("/", get(|session: Session, caller: Option<Caller>| async move { format!("{} {}", session.id(), caller.is_none()) }))
        .route("/app-key", get(|| async { "ok" }).layer(RequireLayer::app_key()))
        .route("/user", get(|| async { "ok" }).layer(RequireLayer::user_token()))
        .layer(TokenLayer::new(tokens.clone()))
}

fn with_bearer(path: &str, token: &str) -> Request<&'static str> {
    Request::get(path).header("authorization", format!("Bearer {token}")).body("").unwrap()
}

#[tokio::test]
async fn token_layer_takes_bearer_tokens_alone() {
    let rig = rig();
    let router = bearer_router(&rig.tokens);
    let bearer = rig.issue(user().bearer()).await;
    let text = bearer.token().expose();
    let response = send(&router, with_bearer("/", text)).await;
    assert_eq!((code(&response), response.headers()["cache-control"].to_str().unwrap()), ("200".into(), "private"));
    let body = axum::body::to_bytes(response.into_body(), 1000).await.unwrap();
    assert_eq!(body, format!("{} true", bearer.session().id()));
    assert_eq!(code(&send(&router, with_bearer("/user", text)).await), "200");
    assert_eq!(code(&send(&router, with_bearer("/app-key", text)).await), "key_not_allowed");

    for new in [user(), NewToken::for_app(), user().one_time()] {
        let issued = rig.issue(new).await;
        assert_eq!(code(&send(&router, with_bearer("/", issued.token().expose())).await), "token_not_allowed");
    }
    assert_eq!(code(&send(&router, request("/")).await), "missing_token");
    assert_eq!(code(&send(&router, with_bearer("/", "a b")).await), "malformed_field");
    let twice =
        Request::get("/").header("authorization", "Bearer a").header("authorization", "Bearer b").body("").unwrap();
    assert_eq!(code(&send(&router, twice).await), "malformed_field");
    for header in ["cookie", "x-token"] {
        let elsewhere = Request::get("/").header(header, format!("__Host-cs1={text}")).body("").unwrap();
        assert_eq!(code(&send(&router, elsewhere).await), "missing_token", "{header}");
    }

    rig.tokens.end(bearer.session()).await.unwrap();
    let response = send(&router, with_bearer("/", text)).await;
    assert_eq!(code(&response), "invalid_token");
    let body = axum::body::to_bytes(response.into_body(), 1000).await.unwrap();
    assert!(!String::from_utf8_lossy(&body).contains("reason"), "no app is proved");
    rig.clock.advance(Duration::from_secs(2 * 3600));
    assert_eq!(code(&send(&router, with_bearer("/", text)).await), "invalid_token");
}

#[tokio::test]
async fn token_layer_reads_the_header_of_its_scheme() {
    let rig = rig();
    let bearer = rig.issue(user().bearer()).await;
    let layer = TokenLayer::new(rig.tokens.clone()).with_scheme(Scheme::new()).unwrap();
    let router = Router::new().route("/", get(|| async { "ok" })).layer(layer);
    let request = Request::get("/").header("x-token", bearer.token().expose()).body("").unwrap();
    assert_eq!(code(&send(&router, request).await), "200");
    let cookie = Scheme::new().with_token_location(TokenLocation::Cookie("sid".into())).unwrap();
    assert!(TokenLayer::new(rig.tokens.clone()).with_scheme(cookie).is_err());
}

#[tokio::test]
async fn renderers_of_rules_are_used() {
    let rig = rig();
    let layer = RequireLayer::token()
        .with_renderer(|rejection: &countersign::Rejection| rejection.to_response().map(|_| "in other words".into()));
    let router = Router::new().route("/", get(|| async { "ok" }).layer(layer)).layer(rig.verifier.clone().into_layer());
    let response = send(&router, rig::signed(request("/"))).await;
    assert_eq!(response.extensions().get::<countersign::Rejection>().unwrap().kind().code(), "missing_token");
    let body = axum::body::to_bytes(response.into_body(), 1000).await.unwrap();
    assert_eq!(body, "in other words");
    drop(Arc::new(rig));
}
