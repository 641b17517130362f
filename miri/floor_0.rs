//! The protocol's worked examples, signed and read under Miri, which looks for undefined behaviour in what the crate
//! depends on: it has no `unsafe` of its own. Here and not in the suite, whose dependencies take minutes to build.
//!
//! ```sh
//! cargo +nightly miri test --lib --manifest-path miri/Cargo.toml
//! ```

#![cfg(test)]
#![allow(clippy::unwrap_used, reason = "that is how a test fails")]

use countersign::{
    Carrier, Nonce, Payload, Scheme, Secret, Signer, Timestamp, TokenPlace,
    protocol::{Claim, Window},
};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderName, HeaderValue, Request, Uri, request::Parts};
use serde::Deserialize;

const NOW: u64 = 1_700_000_000;
const KEY: &str = "0123456789abcdef0123456789abcdef";

#[derive(Deserialize)]
struct File {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    method: String,
    target: String,
    content_type: Option<String>,
    body: String,
    audience: String,
    signed_headers: Vec<(String, Option<String>)>,
    app_id: String,
    token: String,
    key: String,
    timestamp: String,
    nonce: String,
    body_digest: String,
    string_to_sign: String,
    sign: String,
}

impl Case {
    fn scheme(&self) -> Scheme {
        let names = self.signed_headers.iter().map(|(name, _)| HeaderName::from_bytes(name.as_bytes()).unwrap());
        Scheme::new().with_audience(&*self.audience).unwrap().with_signed_headers(names).unwrap()
    }

    fn signer(&self) -> Signer {
        let signer = Signer::new(self.app_id.parse().unwrap(), Secret::new(&*self.key).unwrap());
        let signer = signer.with_scheme(self.scheme());
        if self.token.is_empty() { signer } else { signer.with_token(self.token.parse().unwrap()) }
    }

    fn parts(&self) -> Parts {
        let request = Request::builder().method(&*self.method).uri(&*self.target);
        let request = self.content_type.iter().fold(request, |request, value| request.header("content-type", value));
        let signed = self.signed_headers.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let request = signed.fold(request, |request, (name, value)| request.header(name, value));
        request.body(()).unwrap().into_parts().0
    }

    /// Whether signers, who send a digest with every body and form, would make this very request of its bytes.
    fn is_what_signers_send(&self) -> bool {
        let is_form = self.content_type.as_deref().is_some_and(|kind| kind.starts_with("application/x-www-form"));
        self.body_digest.is_empty() == (self.body.is_empty() && !is_form)
    }
}

/// One in five: Miri takes a second for each.
fn cases() -> impl Iterator<Item = Case> {
    let file: File = serde_json::from_str(include_str!("../tests/vectors/requests.json")).unwrap();
    file.cases.into_iter().filter(Case::is_what_signers_send).step_by(5)
}

#[test]
fn signers_make_the_examples_and_claims_are_read_from_them() {
    let mut made = 0;
    for case in cases() {
        let payload = Payload::Bytes(case.body.as_bytes());
        let (timestamp, nonce): (Timestamp, Nonce) = (case.timestamp.parse().unwrap(), case.nonce.parse().unwrap());
        let mut parts = case.parts();
        let string = case.signer().string_to_sign_at(&parts, payload, timestamp, nonce.clone()).unwrap();
        assert_eq!(string, case.string_to_sign, "{}", case.name);
        case.signer().sign_at(&mut parts, payload, timestamp, nonce).unwrap();
        assert_eq!(parts.headers["x-sign"], case.sign, "{}", case.name);

        let claim = Claim::extract(&case.scheme(), &parts.uri, &parts.headers).unwrap();
        assert_eq!((claim.app_id().as_str(), claim.nonce().as_str()), (&*case.app_id, &*case.nonce));
        assert!(claim.timely(timestamp.unix_seconds() + 300, &Window::new(300)).is_ok());
        made += 1;
    }
    assert!(made >= 4, "only {made} examples were made");
}

/// The MAC of strings about as long as a block and as the buffer.
#[test]
fn strings_of_many_lengths_are_signed() {
    let signer = Signer::new("demo".parse().unwrap(), Secret::new(KEY).unwrap());
    for length in [0, 55, 64, 340, 512] {
        let path = format!("/{}", "a".repeat(length));
        let (mut parts, ()) = Request::get(&path).body(()).unwrap().into_parts();
        let (timestamp, nonce) = (NOW.try_into().unwrap(), "nonce-1".parse().unwrap());
        signer.sign_at(&mut parts, Payload::Bytes(b""), timestamp, nonce).unwrap();
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(KEY.as_bytes()).unwrap();
        mac.update(format!("CS1-REQUEST\nGET\n\n{path}\n\n\n\n\ndemo\n\n{KEY}\n{NOW}\nnonce-1").as_bytes());
        assert_eq!(parts.headers["x-sign"], hex::encode(mac.finalize().into_bytes()));
    }
}

#[test]
fn fields_are_found_in_each_carrier_and_the_token_in_each_place() {
    for carrier in [Carrier::Headers, Carrier::Query] {
        for place in [TokenPlace::Field, TokenPlace::Bearer, TokenPlace::Cookie("sid".to_owned())] {
            let scheme = Scheme::new().with_carrier(carrier).with_token_place(place).unwrap();
            let signer = Signer::new("demo".parse().unwrap(), Secret::new(KEY).unwrap());
            let signer = signer.with_scheme(scheme.clone()).with_token("tok+/=1".parse().unwrap());
            let (mut parts, ()) = Request::get("/p?b=x+y&a=%7e&c=").body(()).unwrap().into_parts();
            signer
                .sign_at(&mut parts, Payload::Bytes(b"x"), NOW.try_into().unwrap(), "nonce-1".parse().unwrap())
                .unwrap();
            let claim = Claim::extract(&scheme, &parts.uri, &parts.headers).unwrap();
            assert_eq!(claim.app_id().as_str(), "demo");
        }
    }
}

/// What is malformed ends in an error, wherever it is cut.
#[test]
fn malformed_claims_are_refused() {
    for carrier in [Carrier::Headers, Carrier::Query, Carrier::Either] {
        let scheme = Scheme::new().with_carrier(carrier);
        for target in ["/?appId=%", "/?appId=%6", "/?nonce=%F0%90&sign=", "/?&&=&%&=%", "/?sign=0&sign=1", "*"] {
            for (name, value) in
                [("x-app-id", &b"\xff"[..]), ("x-sign", b"0"), ("x-timestamp", b"18446744073709551616")]
            {
                let (mut parts, ()) = Request::get("/").body(()).unwrap().into_parts();
                parts.uri = target.parse::<Uri>().unwrap();
                parts.headers.insert(name, HeaderValue::from_bytes(value).unwrap());
                assert!(Claim::extract(&scheme, &parts.uri, &parts.headers).is_err(), "{target}");
            }
        }
    }
}
