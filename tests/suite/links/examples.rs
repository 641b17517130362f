//! The worked examples of links.

use countersign::{
    Caller, GrantToken, LinkScheme, Scheme, Secret, Signer, StaticKeys, Verifier, clock::ManualClock, server::Links,
};
use serde::Deserialize;

use super::Shared;
use crate::{
    reference::string::hmac_sha256,
    rig::{self, NOW},
};

#[derive(Deserialize)]
struct Examples {
    key: String,
    app_id: String,
    links: Vec<Example>,
}

#[derive(Deserialize)]
struct Example {
    note: String,
    uri: String,
    audience: String,
    expires: u64,
    grant: String,
    timestamp: String,
    nonce: String,
    string_to_sign: String,
    sign: String,
    uri_sent: String,
    presigning: String,
}

fn examples() -> Examples {
    serde_json::from_str(include_str!("../../vectors/links.json")).unwrap()
}

fn scheme(example: &Example) -> Scheme {
    let links = LinkScheme::new().with_audience(&*example.audience).unwrap();
    Scheme::new().with_audience("not-of-links").unwrap().with_links(links).unwrap()
}

#[test]
fn each_sign_is_the_mac_of_its_string() {
    let Examples { key, links, .. } = examples();
    assert!(links.len() >= 6);
    for example in links {
        let string = example.string_to_sign.replace("{key}", &key);
        assert_eq!(hmac_sha256(&key, string.as_bytes()), example.sign, "{}", example.note);
    }
}

#[test]
fn signers_reproduce_the_examples() {
    let Examples { key, app_id, links } = examples();
    for example in links {
        let signer = Signer::new(app_id.parse().unwrap(), Secret::new(&*key).unwrap()).with_scheme(scheme(&example));
        let nonce = Some(&example.nonce).filter(|nonce| !nonce.is_empty()).map(|nonce| nonce.parse().unwrap());
        let grant: Option<GrantToken> =
            Some(&example.grant).filter(|grant| !grant.is_empty()).map(|grant| grant.parse().unwrap());
        let uri = example.uri.parse().unwrap();
        let presign = signer.presign(&uri, std::time::Duration::from_secs(example.expires));
        let presign = grant.iter().fold(presign, |presign, grant| presign.with_grant(grant, u64::MAX));
        let link = presign.sign_at(example.timestamp.parse().unwrap(), nonce);
        match &*example.presigning {
            "signed" => assert_eq!(link.unwrap().to_string(), example.uri_sent, "{}", example.note),
            "refused" => assert!(link.is_err(), "{}", example.note),
            other => panic!("unknown expectation {other}"),
        }
    }
}

#[tokio::test]
async fn each_example_is_opened_and_no_longer_after_its_end() {
    let Examples { key, app_id, links } = examples();
    for example in links.into_iter().filter(|example| example.grant.is_empty()) {
        let keys = StaticKeys::new([(app_id.parse().unwrap(), Secret::new(&*key).unwrap())]).unwrap();
        let clock = ManualClock::at(NOW);
        let verifier = Verifier::new(keys).with_nonces(Shared::default()).with_clock(clock.clone());
        let verifier = verifier.with_scheme(scheme(&example)).with_links(Links::new());
        let opened = super::open(&verifier, &example.uri_sent).await;
        let opened = opened.unwrap_or_else(|rejection| panic!("{}: {rejection}", example.note));
        let caller = opened.extensions().get::<Caller>().unwrap();
        assert_eq!(caller.app_id().as_str(), app_id);
        assert_eq!(caller.link().unwrap().expires_at(), NOW + example.expires);
        assert_eq!(caller.link().unwrap().is_one_time(), !example.nonce.is_empty());
        assert_eq!(caller.nonce().map_or("", |nonce| nonce.as_str()), example.nonce);
        clock.advance(std::time::Duration::from_secs(example.expires));
        assert_eq!(super::code(&verifier, &example.uri_sent).await, "expired_link", "{}", example.note);
    }
}

#[tokio::test]
async fn changed_byte_in_any_line_is_rejected() {
    let Examples { key, links, .. } = examples();
    for example in links {
        let verifier = super::verifier_of(scheme(&example));
        let string = example.string_to_sign.replace("{key}", &key);
        for i in 0..string.len() {
            let mut other = string.clone().into_bytes();
            other[i] ^= 1;
            let link = example.uri_sent.replace(&example.sign, &hmac_sha256(&key, &other));
            assert_eq!(super::code(&verifier, &link).await, "invalid_signature", "{} at {i}", example.note);
        }
        // A line that is left out.
        for line in 0..string.matches('\n').count() + 1 {
            let lines = string.split('\n').enumerate().filter(|(i, _)| *i != line).map(|(_, line)| line);
            let other = lines.collect::<Vec<_>>().join("\n");
            let link = example.uri_sent.replace(&example.sign, &hmac_sha256(&key, other.as_bytes()));
            assert_eq!(super::code(&verifier, &link).await, "invalid_signature", "{} line {line}", example.note);
        }
    }
}

#[tokio::test]
async fn head_has_the_sign_of_get() {
    let (verifier, _) = super::verifier();
    let request = http::Request::head(super::link("/orders/17")).body("").unwrap();
    assert_eq!(rig::code(&verifier, request).await, "accepted");
}
