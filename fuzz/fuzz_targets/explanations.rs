//! Explanations and refusals from any bytes: they are printable and of a limited length.

#![no_main]

use arbitrary::Arbitrary;
use countersign::{Explanation, Refusal, Scheme, client::Comparison};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    signed: &'a [u8],
    arrived: &'a str,
    signed_headers: u8,
    code: &'a [u8],
    body: &'a [u8],
    detail: &'a str,
}

/// The length of an [`Explanation`] that is cut, in bytes.
const MAX_TEXT: usize = 8192 + 4;

fn assert_printable(text: &str, max: usize) {
    assert!(text.len() <= max, "{} bytes", text.len());
    assert!(text.chars().all(|c| matches!(c, ' '..='~' | '\n' | '…')), "{text:?}");
}

fuzz_target!(|input: Input<'_>| {
    let names = (0..input.signed_headers % 4).map(|n| format!("x-{n}").parse::<HeaderName>().expect("a name"));
    let scheme = Scheme::new().with_signed_headers(names).expect("headers that can be signed");
    let (signed, arrived) = (Explanation::of_text(&scheme, input.signed), Explanation::of_response(input.arrived));
    for (own, other) in [(&signed, &arrived), (&arrived, &signed), (&signed, &signed)] {
        assert_printable(own.as_str(), MAX_TEXT);
        let comparison = Comparison::new(own, other);
        assert_printable(&comparison.to_string(), 3 * MAX_TEXT);
        assert!(own != other || comparison == Comparison::Same || comparison == Comparison::SameUntilCut);
    }
    assert_eq!(Explanation::of_response(arrived.as_str()), arrived, "a printable text stays as it is");

    let problem =
        serde_json::json!({ "code": "invalid_signature", "detail": input.detail, "string_to_sign": input.arrived });
    let (code, problem) = (HeaderValue::from_bytes(input.code).ok(), problem.to_string());
    for (code, body) in [(code, input.body), (Some(HeaderValue::from_static("invalid_signature")), problem.as_bytes())]
    {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/problem+json"));
        headers.extend(code.map(|code| (HeaderName::from_static("x-error-code"), code)));
        let refusal = Refusal::from_response(StatusCode::UNAUTHORIZED, &headers, body);
        if let Some(refusal) = refusal.map(|refusal| refusal.compared_with(&signed)) {
            assert_printable(&refusal.to_string(), 4 * MAX_TEXT);
            assert_printable(&format!("{refusal:?}"), 4 * MAX_TEXT);
        }
    }
});
