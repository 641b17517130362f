//! Tokens in a cookie.

use countersign::TokenLocation;

use super::*;

const NAME: &str = "__Host-cs1";

fn in_cookie(signer: Signer) -> Signer {
    signer.with_scheme(Scheme::new().with_token_location(TokenLocation::Cookie(NAME.into())).unwrap())
}

/// The value and the attributes of the cookie.
fn cookie(answer: &Answer) -> (Token, Vec<String>) {
    let mut parts = answer.header("set-cookie").split("; ").map(str::to_owned);
    let value = parts.next().unwrap();
    (value.strip_prefix("__Host-cs1=").expect(&value).parse().unwrap(), parts.collect())
}

fn digest_of(token: &Token) -> String {
    use sha2::{Digest, Sha256};
    format!("cookie:{}", hex::encode(Sha256::digest(format!("CS1-COOKIE\n{}", token.expose()))))
}

fn page(token: &Token, answer: &Value) -> Signer {
    let key = Secret::new(answer["session_key"].as_str().unwrap()).unwrap();
    in_cookie(Signer::for_session("demo".parse().unwrap(), token.clone(), key))
}

#[tokio::test]
async fn page_gets_a_cookie_and_its_digest() {
    let server = Server::start(&["--tokens", "--session-keys", "--token-place", "cookie:__Host-cs1"]);
    let issued = server.ask(&in_cookie(demo()), &json!({ "user": "u", "ttl": 60 })).await;
    assert_eq!(issued.status, 201);
    let (token, attributes) = cookie(&issued);
    assert_eq!(attributes, ["Path=/", "Max-Age=60", "Secure", "HttpOnly", "SameSite=Strict"]);
    assert!(issued.json.get("token").is_none() && !issued.json.to_string().contains(token.expose()));
    assert_eq!(issued.json["cookie_digest"], digest_of(&token));
    assert_eq!(server.get(&page(&token, &issued.json), "/").await.json["session"]["user"], "u");
    // A token in its field is ignored.
    assert_eq!(server.get(&demo().with_token(token), "/").await.outcome(), (401, "invalid_signature"));
}

#[tokio::test]
async fn page_renews_in_two_calls() {
    let server = Server::start(&["--tokens", "--session-keys", "--token-place", "cookie:__Host-cs1"]);
    let issued = server.ask(&in_cookie(demo()), &json!({ "user": "u" })).await;
    let (token, _) = cookie(&issued);
    let old = page(&token, &issued.json);
    // Without a successor, the cookie is set to the token itself.
    let same = server.call(&old, Method::POST, "/_tokens/renew/cookie").await;
    assert_eq!((same.status, cookie(&same).0.expose()), (200, token.expose()));
    assert_eq!(cookie(&same).1[2..], ["Secure", "HttpOnly", "SameSite=Strict"]);

    let renewed = server.call(&old, Method::POST, "/_tokens/renew").await;
    assert_eq!((renewed.status, renewed.header("set-cookie")), (200, ""));
    assert!(renewed.json.get("token").is_none(), "{}", renewed.json);
    let set = server.call(&old, Method::POST, "/_tokens/renew/cookie").await;
    let (successor, _) = cookie(&set);
    assert_eq!(renewed.json["cookie_digest"], digest_of(&successor));
    ok(server.get(&page(&successor, &renewed.json), "/").await.outcome());
}

#[tokio::test]
async fn log_out_removes_the_cookie() {
    let server = Server::start(&["--tokens", "--session-keys", "--token-place", "cookie:__Host-cs1"]);
    let issued = server.ask(&in_cookie(demo()), &json!({ "user": "u" })).await;
    let page = page(&cookie(&issued).0, &issued.json);
    let out = server.call(&page, Method::DELETE, "/_tokens").await;
    let expected = "__Host-cs1=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Strict";
    assert_eq!((out.status, out.header("set-cookie")), (204, expected));
    assert_eq!(server.get(&page, "/").await.reason(), "revoked");
}

#[tokio::test]
async fn field_or_cookie_serves_phones_and_pages() {
    let server = Server::start(&["--tokens", "--session-keys", "--token-place", "field-or-cookie:__Host-cs1"]);
    let phone = server.issue(json!({ "user": "u" })).await;
    ok(server.get(&with_session_key(&phone), "/").await.outcome());
    let answer = server.ask(&demo(), &json!({ "user": "u", "cookie": true })).await;
    let token = cookie(&answer).0;
    let page = page(&token, &answer.json);
    ok(server.get(&page, "/").await.outcome());
    let renewed = server.call(&page, Method::POST, "/_tokens/renew").await.json;
    assert!(renewed.get("token").is_none() && renewed["cookie_digest"].is_string(), "{renewed}");
    assert_eq!(server.call(&page, Method::POST, "/_tokens/renew/cookie").await.status, 200);

    // The phone's token is in its field, even if a cookie comes along.
    let by_phone = async |path: &str| {
        let request = with_session_key(&phone).sign_reqwest(Request::new(Method::POST, server.url(path)));
        let mut request = request.unwrap();
        request.headers_mut().insert("cookie", format!("{NAME}={}", token.expose()).parse().unwrap());
        server.send(request).await
    };
    assert!(by_phone("/_tokens/renew").await.json["token"].is_string());
    assert_eq!(by_phone("/_tokens/renew/cookie").await.outcome(), (403, "token_not_allowed"));
}

#[tokio::test]
async fn bearer_token_is_never_in_a_cookie() {
    let server = Server::start(&["--tokens", "--token-place", "cookie:__Host-cs1"]);
    let issued = server.ask(&in_cookie(demo()), &json!({ "user": "u", "bearer": true })).await;
    assert_eq!((issued.status, issued.header("set-cookie")), (201, ""));
    let mut request = Request::new(Method::GET, server.url("/_bearer"));
    let token = issued.json["token"].as_str().unwrap();
    request.headers_mut().insert("cookie", format!("{NAME}={token}").parse().unwrap());
    assert_eq!(server.send(request).await.outcome(), (401, "missing_token"));
}
