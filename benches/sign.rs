//! The cost of signing: `Signer::sign` with the system clock and a random nonce, compared with HMAC-SHA256 of the same
//! string to sign with a prepared key, and for a JSON body also with its SHA-256. A separate case excludes the system
//! calls for the clock and the 16 random bytes. `SignLayer` is measured around a client that answers at once.
//!
//! ```sh
//! cargo bench --bench sign
//! ```
//!
//! The cases take turns in the same run. A line for each request shows the ratio of the medians, which depends less on
//! the machine than the times do.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench may panic")]

mod rig;

use std::convert::Infallible;

use bytes::Bytes;
use countersign::{Nonce, Payload, SignLayer, Signer, Timestamp, client::SignedBody};
use criterion::Criterion;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer, Service, service_fn};

use self::rig::{Bare, time};

fn main() {
    let mut criterion = rig::criterion();
    get(&mut criterion);
    post_json(&mut criterion);
    criterion.final_summary();
}

fn unsigned(request: &Request<Bytes>, count: usize) -> Vec<Request<Bytes>> {
    vec![request.clone(); count]
}

fn strings(signer: &Signer, signed: &[Request<Bytes>]) -> Vec<Vec<u8>> {
    let bare = Bare::new();
    signed.iter().map(|request| bare.string_to_sign(signer, request)).collect()
}

/// Signs with a given timestamp and nonce, without the system clock and random bytes.
fn sign_at(signer: &Signer, mut request: Request<Bytes>, timestamp: Timestamp, nonce: &Nonce) -> Request<Bytes> {
    let body = std::mem::take(request.body_mut());
    let (mut parts, ()) = request.map(drop).into_parts();
    signer.sign_at(&mut parts, Payload::Bytes(&body), timestamp, nonce.clone()).unwrap();
    Request::from_parts(parts, body)
}

fn get(criterion: &mut Criterion) {
    let (signer, bare, request) = (rig::signer(), Bare::new(), rig::get());
    let (timestamp, nonce) = moment();
    let works = ["sign", "sign_at", "the bare HMAC"];
    rig::in_turns(criterion, "sign/GET, 8 parameters", works, |count| {
        let (whole, signed) = time(unsigned(&request, count), |request| signer.sign(request).unwrap());
        let (pure, _) = time(unsigned(&request, count), |request| sign_at(&signer, request, timestamp, &nonce));
        let (hmac, _) = time(&strings(&signer, &signed), |string| bare.hmac(string));
        [whole, pure, hmac]
    });
}

fn post_json(criterion: &mut Criterion) {
    let (signer, bare, request) = (rig::signer(), Bare::new(), rig::post_json());
    let (timestamp, nonce) = moment();
    let works = ["sign", "sign_at", "the bare HMAC", "HMAC and the body's SHA-256", "SignLayer"];
    rig::in_turns(criterion, "sign/POST, 1 KiB of JSON", works, |count| {
        let (whole, signed) = time(unsigned(&request, count), |request| signer.sign(request).unwrap());
        let (pure, _) = time(unsigned(&request, count), |request| sign_at(&signer, request, timestamp, &nonce));
        let strings = strings(&signer, &signed);
        let (hmac, _) = time(&strings, |string| bare.hmac(string));
        let (both, _) = time(&strings, |string| bare.hmac_and_sha256(string, request.body()));
        let layer = SignLayer::new(signer.clone()).layer(service_fn(answer));
        let (layered, _) = time(unsigned(&request, count), |request| {
            layer.clone().call(request.map(Full::new)).now_or_never().unwrap().unwrap()
        });
        [whole, pure, hmac, both, layered]
    });
}

async fn answer(request: Request<SignedBody>) -> Result<Response<SignedBody>, Infallible> {
    Ok(Response::new(request.into_body()))
}

fn moment() -> (Timestamp, Nonce) {
    (1_700_000_000.try_into().unwrap(), "4f3c2b1a0d9e8f7a6b5c4d3e2f1a0b9c".parse().unwrap())
}
