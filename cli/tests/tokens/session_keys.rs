//! Signing with the key of a session.

use super::*;

#[tokio::test]
async fn session_key_signs_for_its_token() {
    let server = Server::start(&["--tokens", "--session-keys"]);
    let issued = server.issue(json!({ "user": "u" })).await;
    let echo = server.get(&with_session_key(&issued), "/orders?b=1").await.json;
    assert_eq!((&echo["signed_by"], &echo["session"]["user"]), (&json!("session_key"), &json!("u")));
    assert_eq!(server.get(&with_token(&issued), "/").await.json["signed_by"], "app_key");
    assert!(!echo.to_string().contains(issued["session_key"].as_str().unwrap()), "{echo}");
}

#[tokio::test]
async fn session_key_signs_for_no_other_token() {
    let server = Server::start(&["--tokens", "--session-keys"]);
    let (one, other) = (server.issue(json!({ "user": "u" })).await, server.issue(json!({ "user": "u" })).await);
    let mut mixed = one.clone();
    mixed["token"] = other["token"].clone();
    assert_eq!(server.get(&with_session_key(&mixed), "/").await.outcome(), (401, "invalid_signature"));
    assert_eq!(server.call(&with_session_key(&one), Method::DELETE, "/_tokens").await.status, 204);
    assert_eq!(server.get(&with_session_key(&one), "/").await.reason(), "revoked");
}

#[tokio::test]
async fn session_key_issues_no_tokens() {
    let server = Server::start(&["--tokens", "--session-keys"]);
    let issued = server.issue(json!({ "user": "u" })).await;
    let refused = server.ask(&with_session_key(&issued), &json!({ "user": "u" })).await;
    assert_eq!(refused.outcome(), (403, "key_not_allowed"));
    assert_eq!(server.ask(&with_token(&issued), &json!({ "user": "u" })).await.status, 201);
}

#[tokio::test]
async fn renewed_token_has_its_own_key() {
    let server = Server::start(&["--tokens", "--session-keys", "--audience", "echo"]);
    let scheme = Scheme::new().with_audience("echo").unwrap();
    let first = server.ask(&demo().with_scheme(scheme.clone()), &json!({ "user": "u" })).await.json;
    let signer = |answer: &Value| with_session_key(answer).with_scheme(scheme.clone());
    let renewed = server.call(&signer(&first), Method::POST, "/_tokens/renew").await.json;
    ok(server.get(&signer(&first), "/").await.outcome());
    ok(server.get(&signer(&renewed), "/").await.outcome());
    let mut mixed = renewed.clone();
    mixed["session_key"] = first["session_key"].clone();
    assert_eq!(server.get(&signer(&mixed), "/").await.outcome(), (401, "invalid_signature"));
}

#[tokio::test]
async fn api_and_bearer_tokens_have_no_session_key() {
    let server = Server::start(&["--tokens", "--session-keys"]);
    for wanted in [json!({}), json!({ "user": "u", "bearer": true })] {
        assert!(server.issue(wanted).await.get("session_key").is_none());
    }
    assert!(server.issue(json!({ "user": "u", "one_time": true })).await.get("session_key").is_some());
}

#[tokio::test]
async fn session_keys_are_off_by_default() {
    let keys = Server::start(&["--tokens", "--session-keys"]);
    let mut issued = keys.issue(json!({ "user": "u" })).await;
    let server = Server::start(&["--tokens"]);
    issued["token"] = server.issue(json!({ "user": "u" })).await["token"].clone();
    let derived = derived_key(issued["token"].as_str().unwrap());
    issued["session_key"] = derived.into();
    assert_eq!(server.get(&with_session_key(&issued), "/").await.outcome(), (401, "invalid_signature"));
}

/// The session key of a token of `demo`, without an audience.
fn derived_key(token: &str) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(KEY.as_bytes()).unwrap();
    mac.update(format!("CS1-SESSION\n\ndemo\n{token}").as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

#[tokio::test]
async fn derived_key_is_that_of_the_answer() {
    let server = Server::start(&["--tokens", "--session-keys"]);
    let issued = server.issue(json!({ "user": "u" })).await;
    assert_eq!(issued["session_key"], derived_key(issued["token"].as_str().unwrap()));
}
