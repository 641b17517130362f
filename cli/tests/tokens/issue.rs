//! Issuing and using tokens.

use super::*;

#[tokio::test]
async fn echo_shows_the_session_and_no_token() {
    let server = Server::start(&["--tokens"]);
    let issued = server.issue(json!({ "user": "u-17", "device": "web", "ttl": 60 })).await;
    assert_eq!((&issued["expires_in"], &issued["session_expires_in"]), (&json!(60), &json!(14 * 24 * 3600)));
    assert!(issued.get("session_key").is_none(), "{issued}");
    let echo = server.get(&with_token(&issued), "/orders?a=1").await.json;
    assert_eq!(echo["session"], json!({ "id": issued["session_id"], "user": "u-17", "device": "web" }));
    assert_eq!((&echo["signed_by"], &echo["path"]), (&json!("app_key"), &json!("/orders")));
    assert!(!echo.to_string().contains(issued["token"].as_str().unwrap()), "{echo}");
    // Without a token, there is no session.
    assert_eq!(server.get(&demo(), "/").await.json["session"], Value::Null);
    assert!(!server.stderr().contains("cs1_"), "the log has a token");
}

#[tokio::test]
async fn empty_body_issues_an_api_token() {
    let server = Server::start(&["--tokens"]);
    let issued = server.call(&demo(), Method::POST, "/_tokens").await;
    assert_eq!(issued.status, 201);
    let signer = with_token(&issued.json);
    assert_eq!(server.get(&signer, "/").await.json["session"]["user"], Value::Null);
    assert_eq!(server.get(&signer, "/_sessions").await.outcome(), (403, "token_not_allowed"));
    assert_eq!(server.get(&demo(), "/_sessions").await.outcome(), (401, "missing_token"));
}

#[tokio::test]
async fn token_of_another_app_is_rejected() {
    let server = Server::start(&["--tokens"]);
    let issued = server.issue(json!({ "user": "u" })).await;
    assert_eq!(server.get(&other().with_token(token(&issued)), "/").await.reason(), "");
    assert_eq!(server.get(&demo().with_token("tok_1".parse().unwrap()), "/").await.reason(), "");
    ok(server.get(&with_token(&issued), "/").await.outcome());
}

#[tokio::test]
async fn one_time_token_is_spent_once() {
    let server = Server::start(&["--tokens"]);
    let signer = server.signer(json!({ "user": "u", "one_time": true })).await;
    assert_eq!(server.get(&signer, "/").await.json["session"]["user"], "u");
    assert_eq!(server.get(&signer, "/").await.reason(), "");
    let signer = server.signer(json!({ "one_time": true })).await;
    let renewed = server.call(&signer, Method::POST, "/_tokens/renew").await;
    assert_eq!(renewed.outcome(), (403, "token_not_allowed"));
}

#[tokio::test]
async fn replay_and_wrong_body_spend_no_token() {
    let server = Server::start(&["--tokens"]);
    let signer = server.signer(json!({ "user": "u", "one_time": true })).await;
    let used = demo().sign_reqwest(Request::new(Method::GET, server.url("/"))).unwrap();
    let nonce = used.headers()["x-nonce"].to_str().unwrap().parse::<countersign::Nonce>().unwrap();
    let timestamp = used.headers()["x-timestamp"].to_str().unwrap().parse().unwrap();
    ok(server.send(used).await.outcome());

    let (mut parts, ()) = http::Request::get("/").body(()).unwrap().into_parts();
    signer.sign_at(&mut parts, countersign::Payload::Bytes(b""), timestamp, nonce).unwrap();
    let mut replayed = Request::new(Method::GET, server.url("/"));
    *replayed.headers_mut() = parts.headers;
    assert_eq!(server.send(replayed).await.outcome(), (401, "replayed_nonce"));

    let mut changed = Request::new(Method::POST, server.url("/"));
    *changed.body_mut() = Some("one".into());
    let mut changed = signer.sign_reqwest(changed).unwrap();
    *changed.body_mut() = Some("two".into());
    assert_eq!(server.send(changed).await.outcome(), (401, "body_mismatch"));
    ok(server.get(&signer, "/").await.outcome());
}

#[tokio::test]
async fn bearer_token_needs_no_signature() {
    let server = Server::start(&["--tokens"]);
    let issued = server.issue(json!({ "user": "u", "bearer": true })).await;
    let bearer = async |text: &str| {
        let mut request = Request::new(Method::GET, server.url("/_bearer"));
        if !text.is_empty() {
            request.headers_mut().insert("authorization", format!("Bearer {text}").parse().unwrap());
        }
        server.send(request).await
    };
    let answer = bearer(issued["token"].as_str().unwrap()).await;
    assert_eq!((answer.status, &answer.json["session"]["id"]), (200, &issued["session_id"]));
    assert_eq!(server.get(&with_token(&issued), "/").await.outcome(), (403, "token_not_allowed"));
    let plain = server.issue(json!({ "user": "u" })).await;
    assert_eq!(bearer(plain["token"].as_str().unwrap()).await.outcome(), (403, "token_not_allowed"));
    let missing = bearer("").await;
    assert_eq!((missing.outcome(), missing.header("www-authenticate")), ((401, "missing_token"), "Bearer"));
    assert_eq!(bearer("tok_1").await.header("www-authenticate"), "Bearer error=\"invalid_token\"");
}

#[tokio::test]
async fn token_ends_after_its_lifetime() {
    let server = Server::start(&["--tokens", "--token-lifetime", "1"]);
    let issued = server.issue(json!({ "user": "u" })).await;
    assert_eq!(issued["expires_in"], 1);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while server.get(&with_token(&issued), "/").await.status == 200 {
        assert!(std::time::Instant::now() < end, "the token does not end");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(server.get(&with_token(&issued), "/").await.reason(), "");
    assert_eq!(server.issue(json!({ "user": "u", "ttl": 9 })).await["expires_in"], 9);
}

#[tokio::test]
async fn full_store_returns_503() {
    let server = Server::start(&["--tokens", "--max-tokens", "2"]);
    for user in ["a", "b"] {
        server.issue(json!({ "user": user })).await;
    }
    let refused = server.ask(&demo(), &json!({ "user": "c" })).await;
    assert_eq!(refused.outcome(), (503, "unavailable"));
    assert!(!refused.header("retry-after").is_empty());
}

#[tokio::test]
async fn without_tokens_all_paths_are_echoed() {
    let server = Server::start(&[]);
    let signer = demo().with_token("tok_1".parse().unwrap());
    let echo = server.call(&signer, Method::POST, "/_tokens").await.json;
    assert_eq!((&echo["path"], &echo["token"]), (&json!("/_tokens"), &json!("tok_1")));
    assert!(echo.get("session").is_none() && echo.get("signed_by").is_none(), "{echo}");
}

#[tokio::test]
async fn health_counts_requests_to_all_signed_paths() {
    let server = Server::start(&["--tokens"]);
    server.get(&server.signer(json!({})).await, "/").await;
    server.send(Request::new(Method::GET, server.url("/_bearer"))).await;
    assert_eq!(server.send(Request::new(Method::GET, server.url("/health"))).await.json, json!({ "handled": 2 }));
}
