//! Tokens of other systems, and the place of the token.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use countersign::{
    AppId, Caller, Rejection, Scheme, Signer, StaticKeys, Token, TokenLocation, Verifier,
    clock::ManualClock,
    server::{ServiceBody, UnverifiedBody},
    store::{MemoryTokenStore, StoreError},
    token::{CheckedToken, NewToken, TokenCheck, Tokens},
};
use http::Request;

use crate::rig::{self, NOW, get, post, signed_by, signer};

/// A system with two tokens. One of its tokens ends after its first check.
#[derive(Clone, Default)]
struct Sessions(Arc<AtomicUsize>);

#[derive(Debug, PartialEq)]
struct Role(&'static str);

impl TokenCheck for Sessions {
    async fn check(&self, app: &AppId, token: &Token) -> Result<Option<CheckedToken>, StoreError> {
        let calls = self.0.fetch_add(1, SeqCst);
        let checked = CheckedToken::new("u-17".parse().map_err(StoreError::new)?).with_data(Role("buyer"));
        match (token.expose(), app.as_str()) {
            ("tok_1", "demo") => Ok(Some(checked)),
            ("tok_ends", "demo") => Ok(Some(checked).filter(|_| calls == 0)),
            ("tok_down", _) => Err(StoreError::new("the sessions are down")),
            _ => Ok(None),
        }
    }
}

fn verifier() -> (Verifier<StaticKeys>, Sessions, ManualClock) {
    let ((verifier, clock), sessions) = (rig::verifier(), Sessions::default());
    (verifier.with_token_check(sessions.clone()), sessions, clock)
}

async fn verify(verifier: &Verifier<StaticKeys>, signer: &Signer) -> Result<Request<ServiceBody>, Rejection> {
    rig::verify(verifier, signed_by(signer, NOW, get("/"))).await
}

fn code(result: &Result<Request<ServiceBody>, Rejection>) -> &'static str {
    result.as_ref().map_or_else(|rejection| rejection.kind().code(), |_| "accepted")
}

#[tokio::test]
async fn token_of_another_system_gives_its_user() {
    let (verifier, sessions, _) = verifier();
    let with = |token: &str| signer().with_token(token.parse().unwrap());
    let request = verify(&verifier, &with("tok_1")).await.unwrap();
    let caller = request.extensions().get::<Caller>().unwrap();
    assert_eq!((caller.user().unwrap().as_str(), caller.token_data()), ("u-17", Some(&Role("buyer"))));
    assert!(caller.session().is_none() && caller.token_data::<u32>().is_none());

    assert_eq!(code(&verify(&verifier, &with("tok_2")).await), "invalid_token");
    assert_eq!(code(&verify(&verifier, &with("tok_down")).await), "unavailable");
    let other = Signer::new("other".parse().unwrap(), countersign::Secret::new("f".repeat(32)).unwrap());
    assert_eq!(code(&verify(&verifier, &other.with_token("tok_1".parse().unwrap())).await), "invalid_token");
    assert_eq!(code(&verify(&verifier, &signer()).await), "accepted", "without a token");
    let before = sessions.0.load(SeqCst);
    let forged = Signer::new("demo".parse().unwrap(), countersign::Secret::new("x".repeat(32)).unwrap());
    assert_eq!(code(&verify(&verifier, &forged.with_token("tok_1".parse().unwrap())).await), "invalid_signature");
    assert_eq!(sessions.0.load(SeqCst), before, "a forged request is not checked");
}

#[tokio::test]
async fn token_of_another_system_is_checked_again_after_a_slow_body() {
    let (verifier, sessions, clock) = verifier();
    let (parts, body) =
        signed_by(&signer().with_token("tok_ends".parse().unwrap()), NOW, post("/", "text/plain", "hello"))
            .into_parts();
    let slow = http_body_util::StreamBody::new(futures_util::stream::once(async move {
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(6));
        Ok::<_, std::convert::Infallible>(http_body::Frame::data(bytes::Bytes::from_static(body.as_bytes())))
    }));
    let result = verifier.verify(Request::from_parts(parts, UnverifiedBody::new(slow))).await;
    assert_eq!(code(&result), "invalid_token");
    assert_eq!(sessions.0.load(SeqCst), 2);
}

#[tokio::test]
async fn field_or_cookie_takes_either_and_the_field_counts() {
    let (verifier, clock) = rig::verifier();
    let tokens = Tokens::new(MemoryTokenStore::new().unwrap()).with_clock(clock);
    let scheme = Scheme::new().with_token_location(TokenLocation::FieldOrCookie("sid".into())).unwrap();
    let verifier = verifier.with_scheme(scheme.clone()).with_tokens(tokens.clone());
    let new = |user: &str| NewToken::for_user(user.parse().unwrap());
    let first = tokens.issue_for(&"demo".parse().unwrap(), new("first")).await.unwrap();
    let second = tokens.issue_for(&"demo".parse().unwrap(), new("second")).await.unwrap();
    let user = |request: &Request<ServiceBody>| {
        request.extensions().get::<Caller>().unwrap().user().map(ToString::to_string).unwrap_or_default()
    };
    let signer = rig::signer_of(scheme);
    let cookie = |text: &str| Request::get("/").header("cookie", text).body("").unwrap();

    let in_field = signed_by(&signer.clone().with_token(first.token().clone()), NOW, get("/"));
    assert_eq!(in_field.headers()["x-token"], first.token().expose());
    assert_eq!(user(&rig::verify(&verifier, in_field).await.unwrap()), "first");

    let text = format!("a=1; b=2; sid={}", second.token().expose());
    let in_cookie = signed_by(&signer, NOW, cookie(&text));
    assert!(!in_cookie.headers().contains_key("x-token"));
    let request = rig::verify(&verifier, in_cookie).await.unwrap();
    assert_eq!((user(&request), request.headers()["cookie"].to_str().unwrap()), ("second".into(), &*text));

    let in_both = signed_by(&signer.clone().with_token(first.token().clone()), NOW, cookie(&text));
    let request = rig::verify(&verifier, in_both).await.unwrap();
    assert_eq!((user(&request), request.headers()["cookie"].to_str().unwrap()), ("first".into(), "a=1; b=2"));

    // Cookies twice matter only if the cookie counts.
    let twice = format!("sid={0}; sid={0}", second.token().expose());
    let in_both = signed_by(&signer.with_token(first.token().clone()), NOW, cookie(&twice));
    let request = rig::verify(&verifier, in_both.clone()).await.unwrap();
    assert!(!request.headers().contains_key("cookie"));
    let (mut parts, body) = in_both.into_parts();
    parts.headers.remove("x-token");
    let rejection = rig::verify(&verifier, Request::from_parts(parts, body)).await.unwrap_err();
    assert_eq!(rejection.to_string(), "malformed_field: cookie: sid is there twice");
}
