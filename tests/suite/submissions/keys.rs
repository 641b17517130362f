//! The idempotency key of a request.

use std::time::Duration;

use axum::routing::post;
use countersign::{
    Scheme, Verifier,
    submission::{IdempotencyKey, Submission, SubmitOnceLayer, UnsignedKeyError},
};
use http::HeaderValue;

use super::shop::{IDEMPOTENCY_KEY, Shop, by_key, request, send, signer, submission, verifier};
use crate::rig::{self, NOW, signed, signed_by};

#[tokio::test]
async fn missing_key_is_rejected() {
    let shop = Shop::new();
    let router = shop.router(&by_key());
    let answer = send(&router, signed_by(&signer(), NOW, request("/pay", None, "order"))).await;
    assert_eq!((answer.brief(), &answer.json()["field"]), ((400, "missing_field"), &"idempotency-key".into()));
    assert_eq!(shop.runs(), 0);
}

#[tokio::test]
async fn optional_key_lets_requests_without_it_run() {
    let shop = Shop::new();
    let router = shop.router(&by_key().optional());
    for _ in 0..2 {
        let answer = send(&router, signed_by(&signer(), NOW, request("/pay", None, "order"))).await;
        assert_eq!(answer.brief(), (201, ""));
    }
    assert_eq!(send(&router, submission("/pay", "k", "order")).await.brief(), (201, "false"));
    assert_eq!(send(&router, submission("/pay", "k", "order")).await.brief(), (201, "true"));
    assert_eq!(shop.runs(), 3);
}

#[tokio::test]
async fn malformed_key_is_rejected() {
    let shop = Shop::new();
    let router = shop.router(&by_key().optional());
    let long = "a".repeat(256);
    for key in ["", "\"\"", "a b", "\"a\";x=1", "a,b", "\"a", "a\"", "\"a\\\\b\"", "\"a\"b\"", "a;b", "k\u{e9}", &long]
    {
        let mut request = request("/pay", None, "order");
        request.headers_mut().insert(IDEMPOTENCY_KEY, HeaderValue::from_bytes(key.as_bytes()).unwrap());
        let answer = send(&router, signed_by(&signer(), NOW, request)).await;
        assert_eq!(answer.brief(), (400, "malformed_field"), "{key:?}");
        assert_eq!(answer.json()["field"], "idempotency-key");
    }
    assert_eq!(shop.runs(), 0);
}

#[tokio::test]
async fn repeated_key_header_is_rejected() {
    let shop = Shop::new();
    let router = shop.router(&by_key());
    let mut sent = submission("/pay", "k", "order");
    sent.headers_mut().append(IDEMPOTENCY_KEY, "k".parse().unwrap());
    assert_eq!(send(&router, sent).await.brief(), (400, "malformed_field"));
    assert_eq!(shop.runs(), 0);
}

#[tokio::test]
async fn changed_key_breaks_the_signature() {
    let shop = Shop::new();
    let router = shop.router(&by_key());
    let mut sent = submission("/pay", "k", "order");
    sent.headers_mut().insert(IDEMPOTENCY_KEY, "another".parse().unwrap());
    assert_eq!(send(&router, sent).await.brief(), (401, "invalid_signature"));
    let mut sent = submission("/pay", "k", "order");
    sent.headers_mut().remove(IDEMPOTENCY_KEY);
    assert_eq!(send(&router, sent).await.brief(), (401, "invalid_signature"));
    assert_eq!(shop.runs(), 0);
}

#[test]
fn scheme_must_sign_the_key() {
    assert_eq!(SubmitOnceLayer::by_key(&Scheme::new()).unwrap_err(), UnsignedKeyError);
}

#[tokio::test]
async fn verifier_that_does_not_sign_keys_is_misconfigured() {
    let shop = Shop::new();
    let verifier = rig::verifier().0.with_fingerprints();
    let router = shop.router_below(&by_key(), verifier);
    let answer = send(&router, signed(request("/pay", Some("k"), "order"))).await;
    assert_eq!(answer.brief(), (500, "misconfigured"));
    assert_eq!(shop.runs(), 0);
}

#[tokio::test]
async fn unsigned_key_is_ignored_by_fingerprint() {
    let shop = Shop::new();
    let layer = SubmitOnceLayer::by_fingerprint(Duration::from_secs(10)).with_scope(|_| "tenant".to_owned());
    let router = shop.router_below(&layer, rig::verifier().0.with_fingerprints());
    // A browser may have added it. The client must not take the header of the answer for a promise about its key.
    let first = send(&router, signed(request("/pay", Some("1"), "order"))).await;
    assert_eq!(first.brief(), (201, ""));
    let again = send(&router, signed(request("/pay", Some("2"), "order"))).await;
    assert_eq!((again.brief(), &again.body), ((201, ""), &first.body));
    assert_eq!(send(&router, signed(request("/pay", None, "order"))).await.brief(), (201, "true"));
    assert_eq!(shop.runs(), 1);
}

#[tokio::test]
async fn signed_key_counts_by_fingerprint_too() {
    let shop = Shop::new();
    let router = shop.router(&SubmitOnceLayer::by_fingerprint(Duration::from_secs(10)));
    assert_eq!(send(&router, submission("/pay", "1", "order")).await.brief(), (201, "false"));
    assert_eq!(send(&router, submission("/pay", "2", "order")).await.brief(), (201, "false"));
    let again = send(&router, submission("/pay", "1", "order")).await;
    assert_eq!((again.brief(), &*again.body), ((201, "true"), "run 1, key 1: order"));
    assert_eq!(send(&router, submission("/pay", "1", "x")).await.brief(), (422, "idempotency_key_reused"));
    let malformed = signed_by(&signer(), NOW, request("/pay", Some("a b"), "order"));
    assert_eq!(send(&router, malformed).await.brief(), (400, "malformed_field"));
}

#[test]
fn keys_of_both_spellings_are_equal() {
    let parse = |text: &str| text.parse::<IdempotencyKey>().unwrap();
    assert_eq!(parse("8e03978e"), parse("\"8e03978e\""));
    assert_ne!(parse("8e03978e"), parse("8E03978e"));
    assert_eq!(parse("\"two words, and; more\"").as_str(), "two words, and; more");
    assert_eq!(parse("a\\b").as_str(), "a\\b", "a backslash is a character of a bare key");
    assert_eq!(parse(&"a".repeat(255)).as_str().len(), 255);
    assert_eq!(format!("{:?}", parse("secret")), "IdempotencyKey(..)");
    let error = "a b".parse::<IdempotencyKey>().unwrap_err().to_string();
    assert!(
        error.starts_with("idempotency key: expected one key") && error.ends_with("white space at position 2"),
        "{error}"
    );
}

#[tokio::test]
async fn handler_without_the_layer_is_misconfigured() {
    let router = axum::Router::new().route("/", post(|_: Submission| async {})).layer(verifier().into_layer());
    let answer = send(&router, submission("/", "k", "")).await;
    assert_eq!(answer.brief(), (500, "misconfigured"));
}

#[tokio::test]
async fn layer_without_fingerprints_is_misconfigured() {
    let shop = Shop::new();
    let verifier: Verifier<_> = rig::verifier().0.with_scheme(super::shop::scheme());
    let router = shop.router_below(&by_key(), verifier);
    assert_eq!(send(&router, submission("/pay", "k", "order")).await.brief(), (500, "misconfigured"));
    assert_eq!(shop.runs(), 0);
}
