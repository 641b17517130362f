//! The protocol's worked examples, signed and read under Miri, which looks for undefined behaviour in what the crate
//! depends on: it has no `unsafe` of its own. Here and not in the suite, whose dependencies take minutes to build.
//!
//! ```sh
//! cargo +nightly miri test --lib --manifest-path miri/Cargo.toml
//! ```

#![cfg(test)]
#![allow(clippy::unwrap_used, reason = "that is how a test fails")]

#[allow(dead_code, reason = "the suite needs more of it")]
#[path = "../tests/suite/worked_examples.rs"]
mod worked_examples;

use countersign::{
    FieldLocation, Nonce, Payload, Scheme, Secret, Signer, Timestamp, TokenLocation,
    protocol::{Claim, Window},
};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderValue, Request, Uri};

use self::worked_examples::{Case, cases};

const NOW: u64 = 1_700_000_000;
const KEY: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn signers_make_the_examples_and_claims_are_read_from_them() {
    let mut made = 0;
    // One in five: Miri takes a second for each.
    for case in cases().into_iter().filter(Case::is_signer_output).step_by(5) {
        let payload = case.payload();
        let (timestamp, nonce): (Timestamp, Nonce) = (case.timestamp.parse().unwrap(), case.nonce.parse().unwrap());
        let (mut parts, ()) = case.request().map(drop).into_parts();
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
    for carrier in [FieldLocation::Headers, FieldLocation::Query] {
        for place in [TokenLocation::Field, TokenLocation::Bearer, TokenLocation::Cookie("sid".to_owned())] {
            let scheme = Scheme::new().with_field_location(carrier).with_token_location(place).unwrap();
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
    for carrier in [FieldLocation::Headers, FieldLocation::Query, FieldLocation::Either] {
        let scheme = Scheme::new().with_field_location(carrier);
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
