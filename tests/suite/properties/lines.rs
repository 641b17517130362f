//! Each line of the string to sign is covered by the signature.

use countersign::Scheme;
use http::HeaderName;

use super::by_hand::{FORM, Line, ReferenceRequest};
use crate::rig::{self, NOW};

/// A request for which no line is empty.
fn full() -> ReferenceRequest {
    let signed = [HeaderName::from_static("x-tenant")];
    ReferenceRequest {
        scheme: Scheme::new().with_audience("orders").unwrap().with_signed_headers(signed).unwrap(),
        headers: vec![("content-type", FORM.to_owned()), ("x-tenant", "blue".to_owned())],
        body: b"amount=10".to_vec(),
        has_digest: true,
        token: Some("tok_1".to_owned()),
        ..ReferenceRequest::new("POST", "/orders?side=BUY")
    }
}

/// Pairs of requests whose strings to sign differ only in the named line.
fn pairs() -> Vec<(&'static str, ReferenceRequest, ReferenceRequest)> {
    let form = ReferenceRequest { has_digest: false, ..full() };
    let text = ReferenceRequest { headers: vec![("content-type", "text/plain".to_owned())], ..full() };
    vec![
        ("method", full(), ReferenceRequest { method: "PUT".to_owned(), ..full() }),
        ("audience", full(), ReferenceRequest { scheme: full().scheme.with_audience("stocks").unwrap(), ..full() }),
        ("path", full(), ReferenceRequest { target: "/stocks?side=BUY".to_owned(), ..full() }),
        ("query parameters", full(), ReferenceRequest { target: "/orders?side=SELL".to_owned(), ..full() }),
        ("form parameters", form.clone(), ReferenceRequest { body: b"amount=99".to_vec(), ..form }),
        (
            "content type",
            text.clone(),
            ReferenceRequest { headers: vec![("content-type", "text/html".to_owned())], ..text.clone() },
        ),
        ("body digest", text.clone(), ReferenceRequest { body: b"amount=99".to_vec(), ..text }),
        ("signed header", full(), {
            let headers = vec![("content-type", FORM.to_owned()), ("x-tenant", "red".to_owned())];
            ReferenceRequest { headers, ..full() }
        }),
        ("app id", full(), ReferenceRequest { app_id: "twin", ..full() }),
        ("token", full(), ReferenceRequest { token: Some("tok_2".to_owned()), ..full() }),
        ("timestamp", full(), ReferenceRequest { timestamp: NOW + 1, ..full() }),
        ("nonce", full(), ReferenceRequest { nonce: "two-nonce".to_owned(), ..full() }),
    ]
}

fn differing(a: &[Line], b: &[Line]) -> Vec<&'static str> {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).filter(|(a, b)| a != b).map(|((name, _), _)| *name).collect()
}

/// Whether a verifier for the request accepts this signature.
async fn is_accepted(request: &ReferenceRequest, sign: &str) -> bool {
    match rig::code(&request.verifier(), request.with_sign(sign)).await {
        "accepted" => true,
        "invalid_signature" => false,
        code => panic!("{code}"),
    }
}

/// The purpose is the same in all requests, and two keys never give the same signature. Other tests cover these lines.
#[tokio::test]
async fn each_line_binds_the_signature() {
    let mut passed = Vec::new();
    for (line, one, other) in pairs() {
        assert_eq!(differing(&one.lines(), &other.lines()), [line]);
        for (signed, sent) in [(&one, &other), (&other, &one)] {
            if is_accepted(sent, &signed.sign_of(&signed.lines())).await {
                passed.push(line);
            }
            assert!(is_accepted(sent, &sent.sign_of(&sent.lines())).await, "{line}: the correct signature");
        }
    }
    assert!(passed.is_empty(), "these lines are not signed: {passed:?}");
    let names: Vec<_> = full().lines().into_iter().map(|(name, _)| name).collect();
    let paired: Vec<_> = pairs().iter().map(|(line, ..)| *line).collect();
    let unpaired: Vec<_> = names.into_iter().filter(|name| !paired.contains(name)).collect();
    assert_eq!(unpaired, ["purpose", "key"]);
}

/// Each line in turn is omitted, emptied, or extended by a byte.
#[tokio::test]
async fn signature_missing_any_line_is_rejected() {
    let lines = full().lines();
    for (at, (name, text)) in lines.iter().enumerate() {
        let without = [&lines[..at], &lines[at + 1..]].concat();
        let with = |text: &str| [&lines[..at], &[(*name, text.to_owned())], &lines[at + 1..]].concat();
        for (how, other) in [("left out", without), ("empty", with("")), ("longer", with(&format!("{text}x")))] {
            let sign = full().sign_of(&other);
            assert!(!is_accepted(&full(), &sign).await, "accepted although its {name} line is {how}");
        }
    }
    assert!(is_accepted(&full(), &full().sign_of(&lines)).await, "rejected with all lines");
}

/// Swapping two neighboring lines or joining them changes the signature.
#[tokio::test]
async fn order_and_ends_of_lines_are_signed() {
    let lines = full().lines();
    for at in 1..lines.len() {
        let mut swapped = lines.clone();
        swapped.swap(at - 1, at);
        let joined =
            [&lines[..at - 1], &[("joined", lines[at - 1].1.clone() + &lines[at].1)], &lines[at + 1..]].concat();
        for other in [swapped, joined] {
            assert!(!is_accepted(&full(), &full().sign_of(&other)).await, "{} and {}", lines[at - 1].0, lines[at].0);
        }
    }
}
