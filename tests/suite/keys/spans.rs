//! Keys with a limited span, and the identification of the signing key.

use std::time::Duration;

use countersign::{Caller, Key, KeyName, KeyRing, KeyRingError, StaticKeys, Verifier, clock::ManualClock};
use http_body_util::channel::Channel;

use super::{caller, name, secret, signer};
use crate::rig::{self, NOW, get, signed_by};

type Bounds = (Option<u64>, Option<u64>);

fn key(letter: char, (not_before, not_after): Bounds) -> Key {
    let key = Key::from(secret(letter)).with_name(name(&format!("key-{letter}")));
    let key = not_before.map_or(key.clone(), |second| key.with_not_before(second));
    not_after.map_or(key.clone(), |second| key.with_not_after(second))
}

fn ring(spans: &[(char, Bounds)]) -> Result<KeyRing, KeyRingError> {
    KeyRing::new(spans.iter().map(|(letter, bounds)| key(*letter, *bounds)))
}

fn verifier(spans: &[(char, Bounds)]) -> (Verifier<StaticKeys>, ManualClock) {
    verifier_at(NOW, spans)
}

/// A verifier that has run for an hour.
fn verifier_at(now: u64, spans: &[(char, Bounds)]) -> (Verifier<StaticKeys>, ManualClock) {
    let clock = ManualClock::at(now - 3600);
    let verifier = Verifier::new(StaticKeys::new([("demo".parse().unwrap(), ring(spans).unwrap())]).unwrap());
    let verifier = verifier.with_clock(clock.clone());
    clock.advance(Duration::from_secs(3600));
    (verifier, clock)
}

/// The name of the key that signed, or the code of the rejection.
async fn verdict(verifier: &Verifier<StaticKeys>, letter: char) -> String {
    let request = signed_by(&signer("demo", letter), NOW, get("/"));
    match caller(rig::verify(verifier, request).await) {
        Ok(caller) => caller.key_name().unwrap().to_owned(),
        Err(rejection) => rejection.kind().code().to_owned(),
    }
}

#[tokio::test]
async fn both_bounds_of_a_span_are_inclusive() {
    let spans = [('a', (Some(NOW), Some(NOW + 10))), ('b', (None, None))];
    for (now, expected) in [
        (NOW - 1, "invalid_signature"),
        (NOW, "key-a"),
        (NOW + 5, "key-a"),
        (NOW + 10, "key-a"),
        (NOW + 11, "invalid_signature"),
    ] {
        let (verifier, _) = verifier_at(now, &spans);
        assert_eq!(verdict(&verifier, 'a').await, expected, "at {now}");
        assert_eq!(verdict(&verifier, 'b').await, "key-b");
    }
}

#[tokio::test]
async fn inactive_key_is_rejected_like_unknown_app() {
    let outside: [&[(char, Bounds)]; 4] = [
        &[('a', (Some(NOW + 1), None))],
        &[('a', (None, Some(NOW - 1)))],
        &[('a', (Some(NOW + 1), None)), ('b', (None, None))],
        &[('a', (Some(NOW - 9), Some(NOW - 1))), ('b', (Some(NOW + 1), None))],
    ];
    let (known, _) = verifier(&[('b', (None, None))]);
    let unknown = signed_by(&signer("nobody", 'a'), NOW, get("/"));
    let unknown = rig::verify(&known, unknown).await.unwrap_err().to_response();
    for spans in outside {
        let (verifier, _) = verifier(spans);
        let request = signed_by(&signer("demo", 'a'), NOW, get("/"));
        let response = rig::verify(&verifier, request).await.unwrap_err().to_response();
        assert_eq!(response.status(), unknown.status());
        assert_eq!(response.headers(), unknown.headers());
        assert_eq!(response.body(), unknown.body(), "{spans:?}");
    }
}

/// An app without an active key is verified with a dummy key. A request signed with the dummy key is rejected too.
#[tokio::test]
async fn dummy_key_verifies_nothing() {
    let (verifier, _) = verifier(&[('a', (Some(NOW + 1), None))]);
    let dummy = countersign::Signer::new("demo".parse().unwrap(), countersign::Secret::new(vec![0; 32]).unwrap());
    assert_eq!(rig::code(&verifier, signed_by(&dummy, NOW, get("/"))).await, "invalid_signature");
}

#[tokio::test]
async fn form_completed_after_key_expiry_is_rejected() {
    let (verifier, clock) = verifier(&[('a', (None, Some(NOW + 10)))]);
    let form = rig::form("/", "a=1");
    for (seconds, expected) in [(10, "accepted"), (1, "invalid_signature")] {
        let (parts, _) = signed_by(&signer("demo", 'a'), NOW, form.clone()).into_parts();
        let (mut sender, body) = Channel::<bytes::Bytes, std::io::Error>::new(1);
        let request = http::Request::from_parts(parts, countersign::server::UnverifiedBody::new(body));
        let trickle = async {
            sender.send_data("a=".into()).await.unwrap();
            clock.advance(Duration::from_secs(seconds));
            sender.send_data("1".into()).await.unwrap();
            drop(sender);
        };
        let (verdict, ()) = tokio::join!(verifier.verify(request), trickle);
        let code = verdict.map_or_else(|rejection| rejection.kind().code(), |_| "accepted");
        assert_eq!(code, expected);
    }
}

#[tokio::test]
async fn caller_has_index_and_name_of_the_key() {
    let keys = [Key::from(secret('a')).with_not_after(NOW - 1), Key::from(secret('b')), key('c', (None, None))];
    let keys = StaticKeys::new([("demo".parse().unwrap(), KeyRing::new(keys).unwrap())]).unwrap();
    let verifier = Verifier::new(keys).with_clock(ManualClock::at(NOW));
    for (letter, index, name) in [('b', 1, None), ('c', 2, Some("key-c"))] {
        let request = signed_by(&signer("demo", letter), NOW, get("/"));
        let caller = caller(rig::verify(&verifier, request).await).unwrap();
        assert_eq!((caller.key_index(), caller.key_name()), (index, name));
        assert_eq!(format!("{caller:?}").contains("key-c"), name.is_some());
    }
    let test = Caller::for_test("demo".parse().unwrap());
    assert_eq!(test.key_name(), None);
    let test = test.with_test_key_name(name("2026-q4")).with_test_token("tok_1".parse().unwrap());
    assert_eq!((test.key_name(), test.token().unwrap().expose()), (Some("2026-q4"), "tok_1"));
}

#[test]
fn at_most_four_keys_are_active_at_once() {
    let at = |from: u64, to: u64| (Some(from), Some(to));
    let four = [('a', (None, None)), ('b', (None, None)), ('c', (None, None))];
    let with = |more: &[(char, Bounds)]| ring(&[&four[..], more].concat());
    assert!(with(&[('d', (None, Some(9))), ('e', (Some(10), None))]).is_ok());
    let error = with(&[('d', (None, Some(10))), ('e', (Some(10), None))]).unwrap_err();
    assert_eq!(error, KeyRingError::TooManyActive { at: 10 });
    let error = with(&[('d', at(20, 30)), ('e', at(10, 20)), ('f', at(30, 40))]).unwrap_err();
    assert_eq!(error, KeyRingError::TooManyActive { at: 20 });
    // Keys for twelve consecutive months are never active together.
    let months: Vec<_> = ('a'..'m').zip(1..).map(|(letter, n)| (letter, at(n * 100, n * 100 + 99))).collect();
    assert!(ring(&months).is_ok());
    let crowd =
        (0..=KeyRing::MAX_KEYS).map(|n| Key::from(secret(char::from(b'A' + n as u8))).with_not_before(n as u64));
    let crowd: Vec<Key> = crowd.map(|key| key.clone().with_not_after(key.not_before())).collect();
    assert!(KeyRing::new(crowd[1..].iter().cloned()).is_ok());
    assert_eq!(KeyRing::new(crowd).unwrap_err(), KeyRingError::TooMany);
}

#[test]
fn invalid_key_ring_is_rejected() {
    assert_eq!(KeyRing::new::<Key>([]).unwrap_err(), KeyRingError::Empty);
    let error = ring(&[('a', (None, None)), ('b', (Some(11), Some(10)))]).unwrap_err();
    assert_eq!(error, KeyRingError::NeverActive { index: 1 });
    let same_name = [Key::from(secret('a')).with_name(name("k")), Key::from(secret('b')).with_name(name("k"))];
    assert_eq!(KeyRing::new(same_name).unwrap_err(), KeyRingError::SameName(name("k")));
    let error = KeyRing::new([secret('a'), secret('b'), secret('a')]).unwrap_err();
    assert_eq!(error, KeyRingError::SameSecret { indices: [0, 2] });
    assert!(ring(&[('a', (Some(10), Some(10)))]).is_ok(), "a span of one second is valid");
}

#[test]
fn key_name_is_shown_and_secret_is_not() {
    for bad in ["", "two words", "naïve", "a/b", "line\n", &"x".repeat(65)] {
        let error = bad.parse::<KeyName>().unwrap_err();
        assert!(error.to_string().starts_with("key name: expected 1 to 64 of A-Z a-z 0-9 . _ -, found "), "{error}");
    }
    assert!("x".repeat(64).parse::<KeyName>().is_ok());
    let key = key('a', (Some(1), Some(2)));
    assert_eq!((key.name().unwrap().as_str(), key.not_before(), key.not_after()), ("key-a", 1, 2));
    let shown = format!("{key:?}");
    assert!(shown.contains("key-a") && !shown.contains("aaaa"), "{shown}");
}
