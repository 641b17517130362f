//! A verifier with a manual clock, and helpers that build requests for it.

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

use crate::reference::{parameters, string};

pub(crate) const NOW: u64 = 1_700_000_000;
pub(crate) const KEY: &str = "0123456789abcdef0123456789abcdef";

pub(crate) fn keys() -> StaticKeys {
    let other = Secret::new("ffffffffffffffffffffffffffffffff").unwrap();
    StaticKeys::new([("demo".parse().unwrap(), secret()), ("other".parse().unwrap(), other)]).unwrap()
}

pub(crate) fn secret() -> Secret {
    Secret::new(KEY).unwrap()
}

/// A verifier that has run for an hour. Its clock stands at [`NOW`].
pub(crate) fn verifier() -> (Verifier<StaticKeys>, ManualClock) {
    verifier_on(MemoryNonceStore::new())
}

/// Like [`verifier`], with this nonce store.
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

/// Signs the request at [`NOW`] with a fresh nonce.
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

/// A signed form without the digest header. A client that can sign only parameters sends such a form.
pub(crate) fn form_without_digest(target: &str, body: &'static str) -> Request<&'static str> {
    // The signer always signs a digest when it sends the header, so this helper signs the parameters by hand.
    let mut request = form(target, body);
    sign_by_hand(&mut request, &form_lines(target, body));
    request
}

fn form_lines(target: &str, body: &str) -> [String; 2] {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    [canonical_parameters(query), canonical_parameters(body)]
}

/// Lines 5 and 6 of the string to sign.
pub(crate) fn canonical_parameters(raw: &str) -> String {
    String::from_utf8(parameters::read(raw.as_bytes(), &[], usize::MAX).unwrap().line).unwrap()
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
    headers.insert("x-sign", string::hmac_sha256(KEY, string.as_bytes()).parse().unwrap());
}

/// Wraps the body in the type that the verifier accepts.
pub(crate) fn incoming<B: Into<Bytes>>(request: Request<B>) -> Request<UnverifiedBody> {
    request.map(|body| UnverifiedBody::new(Full::new(body.into())))
}

pub(crate) async fn verify<B: Into<Bytes>, K: KeyStore, N: NonceStore>(
    verifier: &Verifier<K, N>,
    request: Request<B>,
) -> Result<Request<ServiceBody>, Rejection> {
    verifier.verify(incoming(request)).await
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
