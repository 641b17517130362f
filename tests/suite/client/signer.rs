//! The signer alone: the fields that it writes to a request, and those that it removes.

use std::{collections::HashSet, io::Write};

use countersign::{BodyDigest, BodyHasher, FieldLocation, Payload, Scheme, TokenLocation};
use http::{HeaderName, Request};

use crate::rig::{self, NOW, get, post, signed_by, signer, signer_of, verifier};

#[tokio::test]
async fn signing_again_replaces_the_fields() {
    for carrier in [FieldLocation::Headers, FieldLocation::Query] {
        let scheme = Scheme::new().with_field_location(carrier);
        let signer = signer_of(scheme.clone()).with_token("new".parse().unwrap());
        let old = signer_of(scheme.clone()).with_token("old".parse().unwrap());
        let once = signed_by(&old, NOW - 1000, post("/p?a=1&b=", "text/plain", "x"));
        let mut again = signed_by(&signer, NOW, once);
        let verified = rig::verify(&verifier().0.with_scheme(scheme.clone()), again.clone()).await.unwrap();
        assert_eq!(verified.extensions().get::<countersign::Caller>().unwrap().token().unwrap().expose(), "new");
        // A request without a body has no digest.
        *again.body_mut() = "";
        let again = signed_by(&signer, NOW, again);
        assert!(!again.headers().contains_key("x-content-sha256"));
        assert_eq!(rig::code(&verifier().0.with_scheme(scheme), again).await, "accepted");
    }
}

#[tokio::test]
async fn signing_the_query_removes_fields_from_headers() {
    let query = Scheme::new().with_field_location(FieldLocation::Query);
    let by_headers = signed_by(&signer().with_token("old".parse().unwrap()), NOW, get("/p?a=1"));
    let by_query = signed_by(&signer_of(query.clone()), NOW, by_headers);
    assert!(by_query.headers().is_empty(), "{:?}", by_query.headers());
    assert_eq!(rig::code(&verifier().0.with_scheme(query), by_query).await, "accepted");
}

#[test]
fn signing_the_query_keeps_empty_parameters() {
    let signer = signer_of(Scheme::new().with_field_location(FieldLocation::Query));
    for query in ["&a=1", "&", "&&=&b", "a=1&&b=&"] {
        let request = signed_by(&signer, NOW, get(&format!("/p?{query}")));
        let sent = request.uri().query().unwrap();
        assert!(sent.starts_with(&format!("{query}&appId=")), "{query}: {sent}");
    }
}

#[tokio::test]
async fn request_can_carry_its_own_token() {
    let places = [TokenLocation::Field, TokenLocation::Bearer, TokenLocation::Cookie("sid".into())];
    let headers = [("x-token", "tok_1"), ("authorization", "Bearer tok_1"), ("cookie", "a=1; sid=tok_1")];
    for (place, (name, value)) in places.into_iter().zip(headers) {
        let scheme = Scheme::new().with_token_location(place).unwrap();
        let mut request = get("/");
        request.headers_mut().insert(name, value.parse().unwrap());
        let request = signed_by(&signer_of(scheme.clone()), NOW, request);
        let verified = rig::verify(&verifier().0.with_scheme(scheme), request).await.unwrap();
        assert_eq!(verified.extensions().get::<countersign::Caller>().unwrap().token().unwrap().expose(), "tok_1");
    }
}

#[test]
fn token_cookie_keeps_other_cookies() {
    let scheme = Scheme::new().with_token_location(TokenLocation::Cookie("sid".into())).unwrap();
    let mut request = get("/");
    request.headers_mut().insert("cookie", "a=1; sid=old; b=2".parse().unwrap());
    let request = signed_by(&signer_of(scheme).with_token("new".parse().unwrap()), NOW, request);
    assert_eq!(request.headers()["cookie"], "a=1; b=2; sid=new");
}

#[test]
fn body_hasher_implements_write() {
    let mut hasher = BodyHasher::new();
    assert_eq!(hasher.write(b"a large").unwrap(), 7);
    hasher.write_all(b" file").unwrap();
    let digest = hasher.finish();
    assert_eq!(digest, BodyDigest::of(b"a large file"));
    assert_eq!(hex::encode(digest.as_bytes()), digest.to_string());
}

#[tokio::test]
async fn file_is_signed_by_its_digest() {
    let (mut parts, ()) = Request::put("/files/1").body(()).unwrap().into_parts();
    let payload = Payload::Digest(BodyDigest::of(b"a large file"));
    signer().sign_at(&mut parts, payload, NOW.try_into().unwrap(), rig::fresh_nonce()).unwrap();
    assert_eq!(rig::code(&verifier().0, Request::from_parts(parts.clone(), "another file")).await, "body_mismatch");
    assert_eq!(rig::code(&verifier().0, Request::from_parts(parts, "a large file")).await, "accepted");
}

#[test]
fn each_signature_has_its_own_nonce() {
    let nonces: HashSet<_> = (0..10_000)
        .map(|_| {
            let nonce = signer().sign(get("/")).unwrap().headers()["x-nonce"].to_str().unwrap().to_owned();
            assert!(nonce.len() == 32 && nonce.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{nonce}");
            nonce
        })
        .collect();
    assert_eq!(nonces.len(), 10_000);
}

#[test]
fn ambiguous_host_is_not_signed() {
    let scheme = Scheme::new().with_signed_headers([HeaderName::from_static("host")]).unwrap();
    for (uri, is_signed) in [
        ("http://example.com/", true),
        ("http://example.com:8080/", true),
        ("http://example.com:443/", true),
        ("http://example.com:80/", false),
        ("https://example.com:443/", false),
        ("http://user@example.com/", false),
    ] {
        let result = signer_of(scheme.clone()).sign(get(uri));
        assert_eq!(result.is_ok(), is_signed, "{uri}");
        assert!(signer().sign(get(uri)).is_ok(), "{uri}: the host is not signed here");
    }
}

#[test]
fn missing_signed_host_is_an_error() {
    let signer = signer_of(Scheme::new().with_signed_headers([HeaderName::from_static("host")]).unwrap());
    let error = signer.sign(get("/orders")).unwrap_err();
    assert!(error.to_string().contains("the host is signed"), "{error}");
    let mut named = get("/orders");
    named.headers_mut().insert("host", "orders.example.com".parse().unwrap());
    assert!(signer.sign(named).is_ok());
}

#[test]
fn parameter_named_like_a_field_is_an_error() {
    let either = signer_of(Scheme::new().with_field_location(FieldLocation::Either));
    let error = either.sign(get("/?token=abc&x=1")).unwrap_err();
    assert!(error.to_string().contains("token: "), "{error}");
}

#[tokio::test]
async fn secrets_are_in_sensitive_headers() {
    let scheme = Scheme::new().with_token_location(TokenLocation::Bearer).unwrap();
    let bearer = signer_of(scheme).with_token("tok".parse().unwrap()).sign(get("/")).unwrap();
    let field = signer().with_token("tok".parse().unwrap()).sign(get("/")).unwrap();
    for value in [&bearer.headers()["authorization"], &bearer.headers()["x-sign"], &field.headers()["x-token"]] {
        assert!(value.is_sensitive());
    }
}
