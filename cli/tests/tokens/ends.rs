//! Ending, listing and limiting sessions.

use super::*;

#[tokio::test]
async fn log_out_ends_the_session() {
    let server = Server::start(&["--tokens"]);
    let (one, other) = (server.signer(json!({ "user": "u" })).await, server.signer(json!({ "user": "u" })).await);
    assert_eq!(server.call(&one, Method::DELETE, "/_tokens").await.status, 204);
    assert_eq!(server.get(&one, "/").await.reason(), "revoked");
    ok(server.get(&other, "/").await.outcome());
    let api = server.signer(json!({})).await;
    assert_eq!(server.call(&api, Method::DELETE, "/_tokens").await.status, 204);
    let refused = server.get(&api, "/").await;
    assert_eq!((refused.header("x-error-code"), &refused.json["reason"]), ("invalid_token", &Value::Null));
}

#[tokio::test]
async fn sessions_are_listed_without_tokens() {
    let server = Server::start(&["--tokens"]);
    let web = server.issue(json!({ "user": "u", "device": "web" })).await;
    let phone = server.issue(json!({ "user": "u", "device": "phone" })).await;
    server.issue(json!({ "user": "v" })).await;
    server.ask(&other(), &json!({ "user": "u" })).await;
    let list = server.get(&with_token(&phone), "/_sessions").await;
    assert_eq!(list.header("cache-control"), "no-store");
    let rows = list.json["sessions"].as_array().unwrap();
    let seen: Vec<_> = rows.iter().map(|row| (&row["id"], &row["device"], &row["current"])).collect();
    let expected =
        [(&web["session_id"], &json!("web"), &json!(false)), (&phone["session_id"], &json!("phone"), &json!(true))];
    assert_eq!(seen, expected);
    for row in rows {
        let [issued, seen, expires] = ["issued_at", "seen_at", "expires_at"].map(|name| row[name].as_u64().unwrap());
        assert!(issued <= seen && seen < expires, "{row}");
        assert_eq!(row.as_object().unwrap().len(), 6, "{row}");
    }
    assert!(!list.json.to_string().contains("cs1_"), "{}", list.json);
}

#[tokio::test]
async fn user_ends_other_sessions() {
    let server = Server::start(&["--tokens"]);
    let answers = [(); 4].map(|()| server.issue(json!({ "user": "u" })));
    let [current, one, two, three] = answers;
    let (current, one, two, three) = (current.await, one.await, two.await, three.await);
    let (signer, stranger) = (with_token(&current), server.signer(json!({ "user": "v" })).await);
    let path = format!("/_sessions/{}", one["session_id"].as_str().unwrap());
    assert_eq!(server.call(&stranger, Method::DELETE, &path).await.outcome(), (404, ""));
    ok(server.get(&with_token(&one), "/").await.outcome());
    assert_eq!(server.call(&signer, Method::DELETE, &path).await.status, 204);
    assert_eq!(server.get(&with_token(&one), "/").await.reason(), "revoked");
    ok(server.get(&with_token(&two), "/").await.outcome());
    assert_eq!(server.call(&signer, Method::DELETE, &path).await.status, 404);

    assert_eq!(server.call(&signer, Method::DELETE, "/_sessions").await.status, 204);
    for ended in [two, three] {
        assert_eq!(server.get(&with_token(&ended), "/").await.reason(), "revoked");
    }
    ok(server.get(&signer, "/").await.outcome());
    ok(server.get(&stranger, "/").await.outcome());
}

#[tokio::test]
async fn kick_ends_all_sessions_of_a_user() {
    let server = Server::start(&["--tokens", "--session-keys"]);
    let first = server.issue(json!({ "user": "u/1%" })).await;
    let renewed = server.call(&with_token(&first), Method::POST, "/_tokens/renew").await.json;
    let foreign = other().with_token(token(&server.ask(&other(), &json!({ "user": "u/1%" })).await.json));
    let bystander = server.signer(json!({ "user": "v" })).await;
    let path = "/_users/u%2F1%25/sessions";
    let by_session_key = server.call(&with_session_key(&first), Method::DELETE, path).await;
    assert_eq!(by_session_key.outcome(), (403, "key_not_allowed"));
    let kicked = server.call(&demo(), Method::DELETE, path).await;
    assert_eq!((kicked.status, kicked.json), (200, json!({ "ended": 2 })));
    for signer in [with_token(&first), with_session_key(&first), with_token(&renewed), foreign] {
        assert_eq!(server.get(&signer, "/").await.reason(), "revoked");
    }
    ok(server.get(&bystander, "/").await.outcome());
    assert_eq!(server.call(&demo(), Method::DELETE, path).await.json, json!({ "ended": 0 }));
}

#[tokio::test]
async fn newest_session_replaces_the_oldest() {
    let server = Server::start(&["--tokens", "--session-limit", "1"]);
    let web = server.signer(json!({ "user": "u", "device": "web" })).await;
    let phone = server.signer(json!({ "user": "u", "device": "phone" })).await;
    let elsewhere = server.ask(&other(), &json!({ "user": "u", "device": "web" })).await;
    ok(server.get(&web, "/").await.outcome());
    let newest = server.signer(json!({ "user": "u", "device": "web" })).await;
    assert_eq!(server.get(&web, "/").await.reason(), "replaced");
    for signer in [newest, phone, other().with_token(token(&elsewhere.json))] {
        ok(server.get(&signer, "/").await.outcome());
    }
}

#[tokio::test]
async fn limit_can_refuse_a_session() {
    let server = Server::start(&["--tokens", "--session-limit", "refuse:1"]);
    let first = server.signer(json!({ "user": "u" })).await;
    let refused = server.ask(&demo(), &json!({ "user": "u" })).await;
    assert_eq!((refused.outcome(), refused.header("cache-control")), ((429, "too_many_sessions"), "no-store"));
    ok(server.get(&first, "/").await.outcome());
    server.issue(json!({ "user": "u", "one_time": true })).await;
    assert_eq!(server.call(&first, Method::DELETE, "/_tokens").await.status, 204);
    server.issue(json!({ "user": "u" })).await;
}
