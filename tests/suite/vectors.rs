//! Each stage of the protocol's worked examples.

use countersign::{
    FieldLocation, Nonce, Payload, Scheme, Secret, Signer, StaticKeys, TokenLocation, Verifier, clock::ManualClock,
};
use http::Request;
use serde::Deserialize;

use crate::{
    reference::string::hmac_sha256,
    rig::{self, NOW},
    worked_examples::{Case, cases},
};

#[test]
fn each_sign_is_the_mac_of_its_string() {
    for case in cases() {
        let string = case.string_to_sign.replace("{key}", &case.key);
        assert_eq!(hmac_sha256(&case.key, string.as_bytes()), case.sign, "{}", case.name);
    }
}

#[tokio::test]
async fn each_example_is_accepted_once() {
    for case in cases() {
        let keys = StaticKeys::new([(case.app_id.parse().unwrap(), Secret::new(&*case.key).unwrap())]).unwrap();
        let verifier = Verifier::new(keys).with_scheme(case.scheme()).with_clock(ManualClock::at(NOW));
        let verified = rig::verify(&verifier, case.sent()).await;
        let verified = verified.unwrap_or_else(|rejection| panic!("{}: {rejection}", case.name));
        let caller = verified.extensions().get::<countersign::Caller>().unwrap();
        assert_eq!(caller.app_id().as_str(), case.app_id);
        assert_eq!(caller.token().map_or("", |token| token.expose()), case.token);
        assert_eq!(caller.nonce().unwrap().as_str(), case.nonce);
        assert_eq!(rig::code(&verifier, case.sent()).await, "replayed_nonce", "{}", case.name);
    }
}

#[tokio::test]
async fn changed_byte_in_any_line_is_rejected() {
    for case in cases() {
        let keys = StaticKeys::new([(case.app_id.parse().unwrap(), Secret::new(&*case.key).unwrap())]).unwrap();
        let verifier = Verifier::new(keys).with_scheme(case.scheme()).with_clock(ManualClock::at(NOW));
        let string = case.string_to_sign.replace("{key}", &case.key);
        for i in 0..string.len() {
            let mut other = string.clone().into_bytes();
            other[i] ^= 1;
            let sign = hmac_sha256(&case.key, &other);
            let mut request = case.sent();
            request.headers_mut().insert("x-sign", sign.parse().unwrap());
            assert_eq!(rig::code(&verifier, request).await, "invalid_signature", "{} at {i}", case.name);
        }
    }
}

#[test]
fn signers_reproduce_the_examples() {
    let mut made = 0;
    for case in cases().into_iter().filter(Case::is_signer_output) {
        let (mut parts, ()) = case.request().map(drop).into_parts();
        let (timestamp, nonce): (_, Nonce) = (case.timestamp.parse().unwrap(), case.nonce.parse().unwrap());
        let string = case.signer().string_to_sign_at(&parts, case.payload(), timestamp, nonce.clone()).unwrap();
        assert_eq!(string, case.string_to_sign, "{}", case.name);
        case.signer().sign_at(&mut parts, case.payload(), timestamp, nonce).unwrap();
        assert_eq!(parts.headers, *case.sent().headers(), "{}", case.name);
        assert_eq!(parts.uri, *case.target, "{}", case.name);
        made += 1;
    }
    assert!(made >= 25, "only {made} examples were checked");
}

#[derive(Deserialize)]
struct QueryCarrier {
    key: String,
    app_id: String,
    timestamp: String,
    nonce: String,
    uri_before: String,
    uri_sent: String,
    sign: String,
}

#[tokio::test]
async fn fields_can_be_sent_in_the_query() {
    let example: QueryCarrier = serde_json::from_str(include_str!("../vectors/query_carrier.json")).unwrap();
    let scheme = Scheme::new().with_field_location(FieldLocation::Query);
    let signer = Signer::new(example.app_id.parse().unwrap(), Secret::new(&*example.key).unwrap());
    let (mut parts, ()) = Request::get(&*example.uri_before).body(()).unwrap().into_parts();
    let (timestamp, nonce) = (example.timestamp.parse().unwrap(), example.nonce.parse().unwrap());
    signer.with_scheme(scheme.clone()).sign_at(&mut parts, Payload::Bytes(b""), timestamp, nonce).unwrap();
    assert_eq!(parts.uri, *example.uri_sent);
    assert!(parts.uri.query().unwrap().ends_with(&example.sign));
    assert!(parts.headers.is_empty());

    let (verifier, _) = rig::verifier();
    let verified = rig::verify(&verifier.with_scheme(scheme), rig::get(&example.uri_sent)).await.unwrap();
    assert_eq!(*verified.uri(), *example.uri_before);
}

#[derive(Deserialize)]
struct CookieToken {
    token: String,
    line: String,
}

/// The examples of a session.
#[derive(Deserialize)]
struct Tokens {
    key: String,
    app_id: String,
    session_key: SessionKey,
    cookie_token_line: CookieToken,
}

#[derive(Deserialize)]
struct SessionKey {
    audience: String,
    token: String,
    session_key: String,
    target: String,
    timestamp: String,
    nonce: String,
    string_to_sign: String,
    sign: String,
}

fn tokens() -> Tokens {
    serde_json::from_str(include_str!("../vectors/tokens.json")).unwrap()
}

#[tokio::test]
async fn cookie_token_is_signed_by_its_digest() {
    let first = serde_json::from_str(include_str!("../vectors/cookie_token.json")).unwrap();
    for example in [first, tokens().cookie_token_line] {
        let CookieToken { token, line } = example;
        let scheme = Scheme::new().with_token_location(TokenLocation::Cookie("sid".into())).unwrap();
        let signer = rig::signer_of(scheme.clone()).with_token(token.parse().unwrap());
        let (parts, ()) = Request::get("/").body(()).unwrap().into_parts();
        let string = signer.string_to_sign_at(&parts, Payload::Bytes(b""), NOW.try_into().unwrap(), rig::fresh_nonce());
        assert_eq!(string.unwrap().lines().nth(9), Some(&*line));

        let (verifier, _) = rig::verifier();
        let request = rig::signed_by(&signer, NOW, rig::get("/"));
        assert_eq!(request.headers()["cookie"], format!("sid={token}"));
        let verified = rig::verify(&verifier.with_scheme(scheme), request).await.unwrap();
        assert_eq!(verified.extensions().get::<countersign::Caller>().unwrap().token().unwrap().expose(), token);
    }
}

#[test]
fn session_key_signs_the_example() {
    let Tokens { key, app_id, session_key: example, .. } = tokens();
    let derived = format!("CS1-SESSION\n{}\n{app_id}\n{}", example.audience, example.token);
    assert_eq!(hmac_sha256(&key, derived.as_bytes()), example.session_key);
    assert_eq!(hmac_sha256(&example.session_key, example.string_to_sign.as_bytes()), example.sign);

    let scheme = Scheme::new().with_audience(example.audience).unwrap();
    let (token, key) = (example.token.parse().unwrap(), Secret::new(example.session_key).unwrap());
    let signer = Signer::for_session(app_id.parse().unwrap(), token, key).with_scheme(scheme);
    let (mut parts, ()) = Request::get(&*example.target).body(()).unwrap().into_parts();
    let (timestamp, nonce): (_, Nonce) = (example.timestamp.parse().unwrap(), example.nonce.parse().unwrap());
    let string = signer.string_to_sign_at(&parts, Payload::Bytes(b""), timestamp, nonce.clone()).unwrap();
    assert_eq!(string.replace("{key}", "session"), example.string_to_sign);
    signer.sign_at(&mut parts, Payload::Bytes(b""), timestamp, nonce).unwrap();
    assert_eq!(parts.headers["x-sign"], example.sign);
}
