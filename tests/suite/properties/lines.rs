//! Each line of the string to sign is there for good: without any one of them a test of these fails.

use countersign::Scheme;
use http::HeaderName;

use super::by_hand::{ByHand, FORM, Line};
use crate::rig::{self, NOW};

/// A request all of whose lines hold something.
fn full() -> ByHand {
    let signed = [HeaderName::from_static("x-tenant")];
    ByHand {
        scheme: Scheme::new().with_audience("orders").unwrap().with_signed_headers(signed).unwrap(),
        headers: vec![("content-type", FORM.to_owned()), ("x-tenant", "blue".to_owned())],
        body: b"amount=10".to_vec(),
        has_digest: true,
        token: Some("tok_1".to_owned()),
        ..ByHand::new("POST", "/orders?side=BUY")
    }
}

/// Each with the line that it is called after as the only one that is another than that of the request before it.
fn pairs() -> Vec<(&'static str, ByHand, ByHand)> {
    let form = ByHand { has_digest: false, ..full() };
    let text = ByHand { headers: vec![("content-type", "text/plain".to_owned())], ..full() };
    vec![
        ("method", full(), ByHand { method: "PUT".to_owned(), ..full() }),
        ("audience", full(), ByHand { scheme: full().scheme.with_audience("stocks").unwrap(), ..full() }),
        ("path", full(), ByHand { target: "/stocks?side=BUY".to_owned(), ..full() }),
        ("query parameters", full(), ByHand { target: "/orders?side=SELL".to_owned(), ..full() }),
        ("form parameters", form.clone(), ByHand { body: b"amount=99".to_vec(), ..form }),
        (
            "content type",
            text.clone(),
            ByHand { headers: vec![("content-type", "text/html".to_owned())], ..text.clone() },
        ),
        ("body digest", text.clone(), ByHand { body: b"amount=99".to_vec(), ..text }),
        ("signed header", full(), {
            let headers = vec![("content-type", FORM.to_owned()), ("x-tenant", "red".to_owned())];
            ByHand { headers, ..full() }
        }),
        ("app id", full(), ByHand { app_id: "twin", ..full() }),
        ("token", full(), ByHand { token: Some("tok_2".to_owned()), ..full() }),
        ("timestamp", full(), ByHand { timestamp: NOW + 1, ..full() }),
        ("nonce", full(), ByHand { nonce: "two-nonce".to_owned(), ..full() }),
    ]
}

fn differing(a: &[Line], b: &[Line]) -> Vec<&'static str> {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).filter(|(a, b)| a != b).map(|((name, _), _)| *name).collect()
}

/// Whether a verifier that is made for the request takes this sign for its own.
async fn is_let_in(request: &ByHand, sign: &str) -> bool {
    match rig::code(&request.verifier(), request.with_sign(sign)).await {
        "accepted" => true,
        "invalid_signature" => false,
        code => panic!("{code}"),
    }
}

/// The purpose is the same in all requests, and of two keys no two signatures are the same: for those, see below.
#[tokio::test]
async fn each_line_binds_the_signature() {
    let mut passed = Vec::new();
    for (line, one, other) in pairs() {
        assert_eq!(differing(&one.lines(), &other.lines()), [line]);
        for (signed, sent) in [(&one, &other), (&other, &one)] {
            if is_let_in(sent, &signed.sign_of(&signed.lines())).await {
                passed.push(line);
            }
            assert!(is_let_in(sent, &sent.sign_of(&sent.lines())).await, "{line}: the honest one");
        }
    }
    assert!(passed.is_empty(), "these lines are not signed: {passed:?}");
    let names: Vec<_> = full().lines().into_iter().map(|(name, _)| name).collect();
    let paired: Vec<_> = pairs().iter().map(|(line, ..)| *line).collect();
    let unpaired: Vec<_> = names.into_iter().filter(|name| !paired.contains(name)).collect();
    assert_eq!(unpaired, ["purpose", "key"]);
}

/// Left out, emptied, or with a byte more, line by line.
#[tokio::test]
async fn signature_missing_any_line_is_rejected() {
    let lines = full().lines();
    for (at, (name, text)) in lines.iter().enumerate() {
        let without = [&lines[..at], &lines[at + 1..]].concat();
        let with = |text: &str| [&lines[..at], &[(*name, text.to_owned())], &lines[at + 1..]].concat();
        for (how, other) in [("left out", without), ("empty", with("")), ("longer", with(&format!("{text}x")))] {
            let sign = full().sign_of(&other);
            assert!(!is_let_in(&full(), &sign).await, "let in with its {name} line {how}");
        }
    }
    assert!(is_let_in(&full(), &full().sign_of(&lines)).await, "refused with all its lines");
}

/// No two lines change places, and none is joined to the next.
#[tokio::test]
async fn the_order_and_the_ends_of_lines_are_signed() {
    let lines = full().lines();
    for at in 1..lines.len() {
        let mut swapped = lines.clone();
        swapped.swap(at - 1, at);
        let joined =
            [&lines[..at - 1], &[("joined", lines[at - 1].1.clone() + &lines[at].1)], &lines[at + 1..]].concat();
        for other in [swapped, joined] {
            assert!(!is_let_in(&full(), &full().sign_of(&other)).await, "{} and {}", lines[at - 1].0, lines[at].0);
        }
    }
}
