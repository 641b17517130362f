//! Signed responses: no changed response is accepted, and nothing panics.
//!
//! A response is signed as the service does it, and changed on its way. The client accepts it exactly if the reference
//! implementation of PROTOCOL.md finds the same string to sign in both.

#![no_main]

use arbitrary::Arbitrary;
use countersign::{Payload, Scheme, Secret, Signer};
use countersign_fuzz::{
    reference::{
        response::SignedResponse,
        string::{hmac_sha256, sha256},
    },
    rig::{KEY, NOW},
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 8] = [
    "content-type",
    "content-encoding",
    "content-range",
    "location",
    "etag",
    "x-response-timestamp",
    "x-response-content-sha256",
    "x-response-sign",
];

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    status: u16,
    headers: Vec<(u8, &'a [u8])>,
    body: &'a [u8],
    changes: Vec<Change<'a>>,
}

#[derive(Arbitrary, Debug)]
enum Change<'a> {
    Status(u16),
    Body(&'a [u8]),
    Remove(u8),
    Set(u8, &'a [u8]),
    Add(u8, &'a [u8]),
}

fuzz_target!(|input: Input| {
    let _ = input.run();
});

fn name(index: u8) -> HeaderName {
    HeaderName::from_static(NAMES[usize::from(index) % NAMES.len()])
}

fn status(code: u16) -> Option<StatusCode> {
    // A response without a body has its own rule.
    StatusCode::from_u16(code).ok().filter(|status| ![101, 204, 304].contains(&status.as_u16()))
}

/// The string to sign, by the reference.
fn string(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    request_sign: &str,
    timestamp: &str,
) -> Option<Vec<u8>> {
    let headers: Vec<(String, Vec<u8>)> =
        headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
    let further = &["location", "etag"][..];
    let status = status.as_u16();
    SignedResponse { status, headers: &headers, body, further, app: "demo", request_sign, timestamp }.string(KEY)
}

impl Input<'_> {
    /// Returns `None` if HTTP has no such response.
    fn run(&self) -> Option<()> {
        let further = ["location", "etag"].map(HeaderName::from_static);
        let scheme = Scheme::new().with_signed_response_headers(further).unwrap();
        let signer = Signer::new("demo".parse().unwrap(), Secret::new(KEY).unwrap()).with_scheme(scheme);
        let (mut request, ()) = Request::get("/").body(()).unwrap().into_parts();
        let now = NOW.to_string().parse().unwrap();
        signer.sign_at(&mut request, Payload::Bytes(b""), now, "nonce-1".parse().unwrap()).unwrap();
        let request_sign = request.headers["x-sign"].to_str().unwrap();
        let sent = signer.sent_request(&request).unwrap();

        let (signed_status, mut headers) = (status(self.status)?, HeaderMap::new());
        for (index, value) in self.headers.iter().filter(|(index, _)| index % 8 < 5) {
            headers.append(name(*index), HeaderValue::from_bytes(value).ok()?);
        }
        let timestamp = NOW.to_string();
        let before = string(signed_status, &headers, self.body, request_sign, &timestamp);
        let signed = signer.sign_response_at(&sent, signed_status, &mut headers, Payload::Bytes(self.body), now);
        assert_eq!(signed.is_ok(), before.is_some());
        let before = before?;
        let sign = hmac_sha256(KEY, &before);
        assert_eq!(headers["x-response-sign"].as_bytes(), sign.as_bytes());

        let (mut sent_status, mut body) = (signed_status, self.body);
        for change in &self.changes {
            match change {
                Change::Status(code) => sent_status = status(*code)?,
                Change::Body(bytes) => body = bytes,
                Change::Remove(index) => drop(headers.remove(name(*index))),
                Change::Set(index, value) => drop(headers.insert(name(*index), HeaderValue::from_bytes(value).ok()?)),
                Change::Add(index, value) => {
                    headers.append(name(*index), HeaderValue::from_bytes(value).ok()?);
                }
            }
        }
        let has_own = [("timestamp", &*timestamp), ("content-sha256", &sha256(body)), ("sign", &sign)].iter().all(
            |(suffix, value)| {
                let values: Vec<_> = headers.get_all(format!("x-response-{suffix}")).iter().collect();
                values.len() == 1 && values[0].as_bytes() == value.as_bytes()
            },
        );
        let after = string(sent_status, &headers, body, request_sign, &timestamp);
        let is_accepted = signer.check_response_at(&sent, sent_status, &headers, Payload::Bytes(body), now).is_ok();
        assert_eq!(is_accepted, has_own && after == Some(before), "{headers:?}");
        Some(())
    }
}
