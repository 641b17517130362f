//! A verifier that has run for an hour, with a clock that stands still, and the requests that it delivers.

use std::{sync::LazyLock, time::Duration};

use bytes::Bytes;
use countersign::{
    Rejection, Secret, Signer, StaticKeys, Timestamp, Verifier,
    clock::ManualClock,
    server::{ServiceBody, UnverifiedBody},
    store::{KeyStore, NonceStore},
};
use futures_util::FutureExt;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};

pub const NOW: u64 = 1_700_000_000;

/// App ids with their keys.
pub const APPS: [(&str, &str); 3] = [
    ("demo", "0123456789abcdef0123456789abcdef"),
    ("other", "another key of another app's"),
    ("third.app", "the key of the third app"),
];

pub const KEY: &str = APPS[0].1;

pub fn keys() -> StaticKeys {
    static KEYS: LazyLock<StaticKeys> = LazyLock::new(|| {
        StaticKeys::new(APPS.map(|(app, key)| (app.parse().unwrap(), Secret::new(key).unwrap()))).unwrap()
    });
    KEYS.clone()
}

pub fn signer() -> Signer {
    signer_of(APPS[0].0, KEY)
}

pub fn signer_of(app: &str, key: &str) -> Signer {
    Signer::new(app.parse().unwrap(), Secret::new(key).unwrap())
}

pub fn now() -> Timestamp {
    NOW.try_into().unwrap()
}

pub fn verifier() -> Verifier<StaticKeys> {
    let clock = ManualClock::at(NOW - 3600);
    let verifier = Verifier::new(keys()).with_clock(clock.clone());
    clock.advance(Duration::from_secs(3600));
    verifier
}

pub fn verify<K: KeyStore, N: NonceStore>(
    verifier: &Verifier<K, N>,
    request: &Request<Bytes>,
) -> Result<Request<ServiceBody>, Rejection> {
    verify_at_once(verifier, request).expect("the future does not wait")
}

/// Returns `None` if the future waits.
pub fn verify_at_once<K: KeyStore, N: NonceStore>(
    verifier: &Verifier<K, N>,
    request: &Request<Bytes>,
) -> Option<Result<Request<ServiceBody>, Rejection>> {
    let request = request.clone().map(|body| UnverifiedBody::new(Full::new(body)));
    verifier.verify(request).now_or_never()
}

/// The request that a service gets.
#[derive(Debug, PartialEq, Eq)]
pub struct Delivered {
    pub method: Method,
    pub path: String,
    pub query: Option<Vec<u8>>,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Delivered {
    pub fn of(delivered: Request<ServiceBody>) -> Self {
        let (parts, body) = delivered.into_parts();
        let body = body.collect().now_or_never().unwrap().unwrap().to_bytes().to_vec();
        Self {
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().map(|query| query.as_bytes().to_vec()),
            headers: parts.headers,
            body,
        }
    }
}
