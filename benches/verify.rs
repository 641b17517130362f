//! The cost of verification: `Verifier::verify` with fixed keys, the system clock and nonces in memory, compared with
//! HMAC-SHA256 of the same string to sign with a prepared key, and for a JSON body also with its SHA-256.
//!
//! ```sh
//! cargo bench --bench verify
//! ```
//!
//! The cases take turns in the same run. A line for each request shows the ratio of the medians, which depends less on
//! the machine than the times do.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench may panic")]

mod rig;

use axum::body::Body;
use bytes::Bytes;
use countersign::{StaticKeys, Verifier};
use criterion::Criterion;
use futures_util::FutureExt;
use http::Request;

use self::rig::{Bare, time};

fn main() {
    let mut criterion = rig::criterion();
    get(&mut criterion);
    post_json(&mut criterion);
    criterion.final_summary();
}

fn verifier() -> Verifier<StaticKeys> {
    Verifier::new(StaticKeys::new([("demo".parse().unwrap(), rig::secret())]).unwrap())
}

/// The future never waits.
fn verify(verifier: &Verifier<StaticKeys>, request: Request<Body>) -> Request<Body> {
    verifier.verify(request).now_or_never().unwrap().unwrap()
}

/// Signed requests, and their strings to sign.
fn incoming(unsigned: &Request<Bytes>, count: usize) -> (Vec<Request<Body>>, Vec<Vec<u8>>) {
    let (signer, bare) = (rig::signer(), Bare::new());
    let signed = (0..count).map(|_| signer.sign(unsigned.clone()).unwrap());
    let both = signed.map(|request| {
        let string = bare.string_to_sign(&signer, &request);
        (request.map(Body::from), string)
    });
    both.unzip()
}

fn get(criterion: &mut Criterion) {
    let (verifier, bare, unsigned) = (verifier(), Bare::new(), rig::get());
    let works = ["verify", "the bare HMAC"];
    rig::in_turns(criterion, "verify/GET, 8 parameters", works, |count| {
        let (requests, strings) = incoming(&unsigned, count);
        let (whole, _) = time(requests, |request| verify(&verifier, request));
        let (hmac, _) = time(&strings, |string| bare.hmac(string));
        [whole, hmac]
    });
}

fn post_json(criterion: &mut Criterion) {
    let (verifier, bare, unsigned) = (verifier(), Bare::new(), rig::post_json());
    let works = ["verify", "the bare HMAC", "HMAC and the body's SHA-256"];
    rig::in_turns(criterion, "verify/POST, 1 KiB of JSON", works, |count| {
        let (requests, strings) = incoming(&unsigned, count);
        let (whole, _) = time(requests, |request| verify(&verifier, request));
        let (hmac, _) = time(&strings, |string| bare.hmac(string));
        let (both, _) = time(&strings, |string| bare.hmac_and_sha256(string, unsigned.body()));
        [whole, hmac, both]
    });
}
