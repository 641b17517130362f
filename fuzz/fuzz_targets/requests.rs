//! Arbitrary requests through the verifier, and signed ones.
//!
//! ```sh
//! cargo install cargo-fuzz
//! cargo +nightly fuzz run requests -- -max_total_time=300
//! cargo +nightly fuzz run requests fuzz/artifacts/requests/crash-...
//! ```
//!
//! Both commands run in the crate's root; the second one repeats what was found. Overflow checks and debug assertions
//! are on. What must hold of every request, under every carrier, place of the token and policy for parameters:
//!
//! 1. Nothing panics, and nothing is accepted that was not signed.
//! 2. Whatever the signer signs is accepted once, and is `replayed_nonce` afterwards.
//! 3. Of what was signed the service sees the method, the path and the body as they were sent, and the query less its
//!    fields and its empty parameters; of a form without a digest, the form less its empty parameters.
//! 4. A signed request of which one part was replaced is accepted only if the service sees the same as before.
//!
//! What the service should see is worked out here a second time, without a line of the crate's.

#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use bytes::Bytes;
use countersign::{
    Carrier, Field, Nonce, Parameters, Payload, Rejection, RejectionKind, Scheme, Secret, Signer, StaticKeys,
    Timestamp, TokenPlace, Verifier,
    clock::ManualClock,
    server::{ServiceBody, UnverifiedBody},
};
use futures_util::FutureExt;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use libfuzzer_sys::fuzz_target;

const NOW: u64 = 1_700_000_000;
const KEY: &str = "0123456789abcdef0123456789abcdef";

#[derive(Arbitrary, Debug)]
struct Input {
    config: Config,
    request: Draft,
    replacement: Replacement,
    /// Signs a form as a client does that knows its parameters alone.
    without_digest: bool,
}

#[derive(Arbitrary, Debug)]
struct Config {
    carrier: u8,
    token_place: u8,
    parameters: u8,
    audience: bool,
    signed_headers: bool,
}

#[derive(Arbitrary, Debug)]
struct Draft {
    method: u8,
    host: bool,
    path: Vec<u8>,
    query: Option<Vec<u8>>,
    content_type: u8,
    headers: Vec<(u8, Vec<u8>)>,
    body: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
enum Replacement {
    Method(u8),
    Path(Vec<u8>),
    Query(Option<Vec<u8>>),
    ContentType(u8),
    Header(u8, Vec<u8>),
    Body(Vec<u8>),
}

fuzz_target!(|input: Input| {
    let scheme = input.config.scheme();
    let Some(request) = input.request.build() else { return };
    let (verifier, _clock) = input.config.verifier(&scheme);
    assert!(verify(&verifier, &request).is_err(), "accepted without a signer");

    let signer = Signer::new("demo".parse().unwrap(), Secret::new(KEY).unwrap()).with_scheme(scheme.clone());
    let Some(signed) = sign(&signer, request, "nonce-1") else { return };
    accepted_once(&input, &verifier, &signed);
    if input.without_digest
        && let Some(signed) = sign_without_digest(&signer, &signed)
    {
        accepted_once(&input, &verifier, &signed);
    }

    let Some(signed) = sign(&signer, signed, "nonce-3") else { panic!("what was signed cannot be signed again") };
    let Some(replaced) = input.replacement.apply(&signed) else { return };
    if let Ok(delivered) = verify(&verifier, &replaced) {
        let signed = Sight::expected(&input.config, &signed, true);
        assert_eq!(Sight::of(delivered).canonical(), signed.canonical(), "accepted as another request");
    }
});

/// Law 2 and 3.
fn accepted_once(input: &Input, verifier: &Verifier<StaticKeys>, signed: &Request<Bytes>) {
    let has_digest = signed.headers().contains_key("x-content-sha256");
    let delivered = match verify(verifier, signed) {
        Ok(delivered) => delivered,
        Err(rejection) => {
            assert_eq!(rejection.kind(), RejectionKind::MalformedParameters, "signed, but refused: {rejection:?}");
            assert!(may_be_malformed(&input.config, signed, has_digest), "signed, but refused: {rejection:?}");
            return;
        }
    };
    assert_eq!(Sight::of(delivered), Sight::expected(&input.config, signed, has_digest));
    let replayed = verify(verifier, signed).unwrap_err();
    assert_eq!(replayed.kind(), RejectionKind::ReplayedNonce);
}

/// What signers do sign: an empty parameter where they are refused, and a form of nothing without its digest.
fn may_be_malformed(config: &Config, signed: &Request<Bytes>, has_digest: bool) -> bool {
    let had_empty = |raw: &[u8]| !raw.is_empty() && raw.split(|&b| b == b'&').count() > kept(raw, &[]).len();
    let is_form = is_form(signed.headers());
    let refuses = config.parameters() == Parameters::RefuseEmpty
        && (had_empty(signed.uri().query().unwrap_or_default().as_bytes()) || is_form && had_empty(signed.body()));
    refuses || is_form && !has_digest && kept(signed.body(), &[]).is_empty()
}

fn verify(verifier: &Verifier<StaticKeys>, request: &Request<Bytes>) -> Result<Request<ServiceBody>, Rejection> {
    let request = request.clone().map(|body| UnverifiedBody::new(Full::new(body)));
    verifier.verify(request).now_or_never().expect("nothing in it waits")
}

fn sign(signer: &Signer, request: Request<Bytes>, nonce: &str) -> Option<Request<Bytes>> {
    let (mut parts, body) = request.into_parts();
    // What clients make of the body when they send it.
    parts.headers.remove("content-length");
    let nonce: Nonce = nonce.parse().unwrap();
    signer.sign_at(&mut parts, Payload::Bytes(&body), now(), nonce).ok()?;
    if parts.headers.contains_key("host") {
        parts.uri = parts.uri.path_and_query().cloned()?.into();
    }
    parts.headers.insert("content-length", body.len().into());
    Some(Request::from_parts(parts, body))
}

/// A signed form, signed again without its digest, if that is one.
fn sign_without_digest(signer: &Signer, signed: &Request<Bytes>) -> Option<Request<Bytes>> {
    let (mut parts, body) = signed.clone().into_parts();
    let nonce: Nonce = "nonce-2".parse().unwrap();
    let name = |field| signer.scheme().header_name(field).clone();
    // The string's lines are taken for those of a signature in headers.
    if !is_form(&parts.headers) || !parts.headers.contains_key(name(Field::Sign)) {
        return None;
    }
    let lines = signer.string_to_sign_at(&parts, Payload::Bytes(&body), now(), nonce.clone()).ok()?;
    let mut lines: Vec<&str> = lines.split('\n').collect();
    signer.sign_at(&mut parts, Payload::Bytes(&body), now(), nonce).ok()?;
    if parts.headers[name(Field::Sign)] != hmac(&lines) {
        // It holds bytes that are no text.
        return None;
    }
    lines[7] = "";
    parts.headers.insert(name(Field::Sign), hmac(&lines).parse().unwrap());
    parts.headers.remove(name(Field::BodyDigest));
    Some(Request::from_parts(parts, body))
}

fn hmac(lines: &[&str]) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(KEY.as_bytes()).unwrap();
    let key_line = lines.len() - 3;
    for (i, line) in lines.iter().enumerate() {
        mac.update(if i == 0 { b"" } else { b"\n" });
        mac.update(if i == key_line { KEY.as_bytes() } else { line.as_bytes() });
    }
    hex::encode(mac.finalize().into_bytes())
}

fn now() -> Timestamp {
    NOW.try_into().unwrap()
}

impl Config {
    fn scheme(&self) -> Scheme {
        let carrier = [Carrier::Headers, Carrier::Query, Carrier::Either][usize::from(self.carrier % 3)];
        let place = [TokenPlace::Field, TokenPlace::Bearer, TokenPlace::Cookie("session".to_owned())]
            [usize::from(self.token_place % 3)]
        .clone();
        let signed_headers = [http::header::HOST, HeaderName::from_static("x-extra")];
        Scheme::new()
            .with_carrier(carrier)
            .with_token_place(place)
            .and_then(|scheme| scheme.with_audience(if self.audience { "api" } else { "" }))
            .and_then(|scheme| scheme.with_signed_headers(signed_headers.into_iter().filter(|_| self.signed_headers)))
            .unwrap()
    }

    fn parameters(&self) -> Parameters {
        [Parameters::Stripped, Parameters::Signed, Parameters::RefuseEmpty][usize::from(self.parameters % 3)]
    }

    fn verifier(&self, scheme: &Scheme) -> (Verifier<StaticKeys>, ManualClock) {
        let keys = StaticKeys::new([("demo".parse().unwrap(), Secret::new(KEY).unwrap())]);
        let clock = ManualClock::at(NOW - 3600);
        let verifier = Verifier::new(keys).with_clock(clock.clone());
        clock.advance(Duration::from_secs(3600));
        (verifier.with_scheme(scheme.clone()).with_parameters(self.parameters()), clock)
    }
}

impl Draft {
    /// `None` if HTTP has no such request.
    fn build(&self) -> Option<Request<Bytes>> {
        let mut request = Request::new(Bytes::from(self.body.clone()));
        *request.method_mut() = method(self.method);
        *request.uri_mut() = target(self.host, &self.path, self.query.as_deref())?;
        if let Some(value) = content_type(self.content_type) {
            request.headers_mut().insert("content-type", value);
        }
        for (name, value) in &self.headers {
            request.headers_mut().append(header_name(*name), HeaderValue::from_bytes(value).ok()?);
        }
        Some(request)
    }
}

impl Replacement {
    fn apply(&self, request: &Request<Bytes>) -> Option<Request<Bytes>> {
        let mut request = request.clone();
        let uri = request.uri();
        let has_host = uri.authority().is_some();
        match self {
            Self::Method(index) => *request.method_mut() = method(*index),
            Self::Path(path) => *request.uri_mut() = target(has_host, path, uri.query().map(str::as_bytes))?,
            Self::Query(query) => {
                // Fields that travel in the query stay, at its end.
                let old = uri.query().unwrap_or_default();
                let fields = old.rfind("appId=").map_or("", |start| &old[start..]).as_bytes();
                let query =
                    query.as_deref().map(|query| [query, if fields.is_empty() { b"" } else { b"&" }, fields].concat());
                *request.uri_mut() = target(has_host, uri.path().as_bytes().get(1..)?, query.as_deref())?;
            }
            Self::ContentType(index) => {
                match content_type(*index) {
                    Some(value) => request.headers_mut().insert("content-type", value),
                    None => request.headers_mut().remove("content-type"),
                };
            }
            Self::Header(name, value) => {
                request.headers_mut().insert(header_name(*name), HeaderValue::from_bytes(value).ok()?);
            }
            Self::Body(body) => {
                *request.body_mut() = body.clone().into();
                request.headers_mut().insert("content-length", body.len().into());
            }
        }
        Some(request)
    }
}

fn method(index: u8) -> Method {
    let all = [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::CONNECT];
    all.get(usize::from(index % 8)).cloned().unwrap_or_else(|| Method::from_bytes(b"get").unwrap())
}

/// Bytes that cannot stand in a target become some that matter there.
fn target(host: bool, path: &[u8], query: Option<&[u8]>) -> Option<Uri> {
    let tame = |byte: &u8| match byte {
        b'!' | b'$'..=b'>' | b'@'..=b'~' if !b"\"<>\\^`{|}".contains(byte) => *byte,
        0x80.. => *byte,
        _ => b"&=%+/;a1"[usize::from(byte % 8)],
    };
    let mut target = if host { b"http://example.com/".to_vec() } else { b"/".to_vec() };
    target.extend(path.iter().map(tame));
    if let Some(query) = query {
        target.push(b'?');
        target.extend(query.iter().map(tame));
    }
    Uri::try_from(target).ok()
}

fn content_type(index: u8) -> Option<HeaderValue> {
    let all = [
        "application/x-www-form-urlencoded",
        "application/json",
        "Application/X-WWW-Form-Urlencoded; charset=utf-8",
        "multipart/form-data; boundary=\"a b\"",
    ];
    all.get(usize::from(index % 6)).map(|value| HeaderValue::from_static(value))
}

fn header_name(index: u8) -> HeaderName {
    const NAMES: [&str; 19] = [
        "x-app-id",
        "x-timestamp",
        "x-nonce",
        "x-token",
        "x-sign",
        "x-content-sha256",
        "authorization",
        "cookie",
        "host",
        "content-type",
        "content-length",
        "content-encoding",
        "connection",
        "x-extra",
        "transfer-encoding",
        "x-http-method-override",
        "x-original-url",
        "accept",
        "te",
    ];
    HeaderName::from_static(NAMES[usize::from(index) % NAMES.len()])
}

fn is_form(headers: &HeaderMap) -> bool {
    let value = headers.get("content-type").map_or(&b""[..], HeaderValue::as_bytes);
    let essence = value.split(|&b| b == b';').next().unwrap_or_default().trim_ascii();
    essence.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") && !headers.contains_key("content-encoding")
}

/// What a service acts on.
#[derive(Debug, PartialEq, Eq)]
struct Sight {
    method: Method,
    path: String,
    query: Vec<u8>,
    body: Vec<u8>,
}

impl Sight {
    fn of(delivered: Request<ServiceBody>) -> Self {
        let (parts, body) = delivered.into_parts();
        let body = body.collect().now_or_never().unwrap().unwrap().to_bytes().to_vec();
        if let Some(length) = parts.headers.get("content-length") {
            assert_eq!(length.to_str().unwrap(), body.len().to_string());
        }
        let query = parts.uri.query().unwrap_or_default().as_bytes().to_vec();
        Self { method: parts.method, path: parts.uri.path().to_owned(), query, body }
    }

    fn expected(config: &Config, sent: &Request<Bytes>, has_digest: bool) -> Self {
        let policy = config.parameters();
        let fields: &[&[u8]] = match config.carrier % 3 {
            0 => &[],
            _ => &[b"appId", b"timestamp", b"nonce", b"token", b"sign"],
        };
        let (parts, body) = sent.clone().into_parts();
        let query = delivered(policy, parts.uri.query().unwrap_or_default().as_bytes(), fields);
        let body = if has_digest { body.to_vec() } else { delivered(policy, &body, &[]) };
        Self { method: parts.method, path: parts.uri.path().to_owned(), query, body }
    }

    /// With the query as it is signed: what the order of names and the spelling of escapes make no difference to.
    fn canonical(self) -> Self {
        Self { query: canonical(&self.query, &[]), ..self }
    }
}

fn delivered(policy: Parameters, raw: &[u8], fields: &[&[u8]]) -> Vec<u8> {
    match policy {
        Parameters::Signed => canonical(raw, fields),
        _ => kept(raw, fields).join(&b'&'),
    }
}

/// The segments that have a name and a value, and are no fields.
fn kept<'a>(raw: &'a [u8], fields: &[&[u8]]) -> Vec<&'a [u8]> {
    let keep = |segment: &&[u8]| {
        let (name, value) = pair(segment);
        !name.is_empty() && !value.is_empty() && !fields.contains(&&*decode(name))
    };
    raw.split(|&b| b == b'&').filter(keep).collect()
}

fn canonical(raw: &[u8], fields: &[&[u8]]) -> Vec<u8> {
    let encoded = |segment: &[u8]| {
        let (name, value) = pair(segment);
        (encode(&decode(name)), encode(&decode(value)))
    };
    let mut pairs: Vec<(String, String)> = kept(raw, fields).into_iter().map(encoded).collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&").into_bytes()
}

fn pair(segment: &[u8]) -> (&[u8], &[u8]) {
    match segment.iter().position(|&b| b == b'=') {
        Some(i) => (&segment[..i], &segment[i + 1..]),
        None => (segment, b""),
    }
}

fn decode(text: &[u8]) -> Vec<u8> {
    let mut bytes = text.iter().copied();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next().unwrap_or(b'?'), bytes.next().unwrap_or(b'?')];
                hex::decode(digits).map_or(b'?', |byte| byte[0])
            }
            byte => byte,
        });
    }
    decoded
}

fn encode(bytes: &[u8]) -> String {
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    bytes.iter().map(|&b| if unreserved(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
