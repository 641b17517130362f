//! A verifier on a clock that stands still, and requests to try it with.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use countersign::{
    Nonce, Payload, Rejection, Scheme, Secret, Signer, StaticKeys, Timestamp, Verifier,
    clock::ManualClock,
    server::{ServiceBody, UnverifiedBody},
    store::{KeyStore, MemoryNonceStore, NonceStore},
};
use http::Request;
use http_body_util::{BodyExt, Full};

pub(crate) const NOW: u64 = 1_700_000_000;
pub(crate) const KEY: &str = "0123456789abcdef0123456789abcdef";

pub(crate) fn keys() -> StaticKeys {
    let other = Secret::new("ffffffffffffffffffffffffffffffff").unwrap();
    StaticKeys::new([("demo".parse().unwrap(), secret()), ("other".parse().unwrap(), other)]).unwrap()
}

pub(crate) fn secret() -> Secret {
    Secret::new(KEY).unwrap()
}

/// A verifier that has been up for an hour, and its clock at [`NOW`].
pub(crate) fn verifier() -> (Verifier<StaticKeys>, ManualClock) {
    verifier_on(MemoryNonceStore::new())
}

/// The same with this store.
pub(crate) fn verifier_on<N: NonceStore>(nonces: N) -> (Verifier<StaticKeys, N>, ManualClock) {
    let clock = ManualClock::at(NOW - 3600);
    let verifier = Verifier::new(keys()).with_nonces(nonces).with_clock(clock.clone());
    clock.advance(Duration::from_secs(3600));
    (verifier, clock)
}

pub(crate) fn signer() -> Signer {
    Signer::new("demo".parse().unwrap(), secret())
}

pub(crate) fn signer_of(scheme: Scheme) -> Signer {
    signer().with_scheme(scheme)
}

pub(crate) fn fresh_nonce() -> Nonce {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("nonce-{}", COUNT.fetch_add(1, Ordering::Relaxed)).parse().unwrap()
}

/// Signs as of [`NOW`], with a nonce of its own.
pub(crate) fn signed<B: AsRef<[u8]>>(request: Request<B>) -> Request<B> {
    signed_by(&signer(), NOW, request)
}

pub(crate) fn signed_by<B: AsRef<[u8]>>(signer: &Signer, timestamp: u64, request: Request<B>) -> Request<B> {
    let (mut parts, body) = request.into_parts();
    let timestamp = Timestamp::try_from(timestamp).unwrap();
    signer.sign_at(&mut parts, Payload::Bytes(body.as_ref()), timestamp, fresh_nonce()).unwrap();
    Request::from_parts(parts, body)
}

pub(crate) fn get(target: &str) -> Request<&'static str> {
    Request::get(target).body("").unwrap()
}

pub(crate) fn post(target: &str, content_type: &str, body: &'static str) -> Request<&'static str> {
    Request::post(target).header("content-type", content_type).body(body).unwrap()
}

pub(crate) fn form(target: &str, body: &'static str) -> Request<&'static str> {
    post(target, "application/x-www-form-urlencoded", body)
}

/// A signed form as sent by a client that knows only the parameters.
pub(crate) fn form_without_digest(target: &str, body: &'static str) -> Request<&'static str> {
    // A digest is signed where its header travels, so the string to sign must be made without it: sign an empty form
    // of the same parameters by hand.
    let mut request = form(target, body);
    sign_by_hand(&mut request, &form_lines(target, body));
    request
}

fn form_lines(target: &str, body: &str) -> [String; 2] {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    [canonical_parameters(query), canonical_parameters(body)]
}

/// Lines 5 and 6 of the string to sign: plain and slow, and without a line of the crate's.
pub(crate) fn canonical_parameters(raw: &str) -> String {
    let mut parameters: Vec<(String, String)> = raw
        .split('&')
        .map(|segment| segment.split_once('=').unwrap_or((segment, "")))
        .map(|(name, value)| (encode(&decode(name)), encode(&decode(value))))
        .filter(|(name, value)| !name.is_empty() && !value.is_empty())
        .collect();
    parameters.sort_by(|a, b| a.0.cmp(&b.0));
    parameters.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

pub(crate) fn decode(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes();
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

fn sign_by_hand(request: &mut Request<&'static str>, [query, form]: &[String; 2]) {
    let nonce = fresh_nonce();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let string = format!(
        "CS1-REQUEST\n{method}\n\n{path}\n{query}\n{form}\napplication/x-www-form-urlencoded\n\ndemo\n\n{KEY}\n{NOW}\n{nonce}"
    );
    let headers = request.headers_mut();
    headers.insert("x-app-id", "demo".parse().unwrap());
    headers.insert("x-timestamp", NOW.into());
    headers.insert("x-nonce", nonce.as_str().parse().unwrap());
    headers.insert("x-sign", hmac_hex(KEY, &string).parse().unwrap());
}

/// The MAC, without a line of the crate's.
pub(crate) fn hmac_hex(key: &str, string: &str) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(string.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// A request as the verifier takes it.
pub(crate) fn arriving<B: Into<Bytes>>(request: Request<B>) -> Request<UnverifiedBody> {
    request.map(|body| UnverifiedBody::new(Full::new(body.into())))
}

pub(crate) async fn verify<B: Into<Bytes>, K: KeyStore, N: NonceStore>(
    verifier: &Verifier<K, N>,
    request: Request<B>,
) -> Result<Request<ServiceBody>, Rejection> {
    verifier.verify(arriving(request)).await
}

pub(crate) async fn code<B: Into<Bytes>, N: NonceStore>(
    verifier: &Verifier<StaticKeys, N>,
    request: Request<B>,
) -> &'static str {
    match verify(verifier, request).await {
        Ok(_) => "accepted",
        Err(rejection) => rejection.kind().code(),
    }
}

pub(crate) async fn bytes<B>(body: B) -> Bytes
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    body.collect().await.unwrap().to_bytes()
}
