//! Shared by the benches: the two requests, the bare cryptography for comparison, and interleaved timing.

#![allow(dead_code, reason = "no bench uses all of it")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use bytes::Bytes;
use countersign::{Nonce, Payload, Secret, Signer, Timestamp};
use criterion::Criterion;
use hmac::{Hmac, KeyInit, Mac};
use http::{Method, Request};
use sha2::{Digest, Sha256};

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// Small enough that a batch stays in the CPU caches, like a request that was just parsed.
const BATCH: u64 = 64;

/// Short, so that the nonces of a run fit into a store of the default capacity.
pub(crate) fn criterion() -> Criterion {
    let (warm_up, measurement) = (Duration::from_millis(500), Duration::from_secs(2));
    Criterion::default().warm_up_time(warm_up).measurement_time(measurement).configure_from_args()
}

pub(crate) fn secret() -> Secret {
    Secret::new(KEY).unwrap()
}

pub(crate) fn signer() -> Signer {
    Signer::new("demo".parse().unwrap(), secret())
}

/// A GET with 8 parameters. Two of the values contain escapes.
pub(crate) fn get() -> Request<Bytes> {
    let query = "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=0.125&price=64000.50\
                 &note=caf%C3%A9%20au%20lait&clientOrderId=a1b2%2Fc3d4";
    request(Method::GET, &format!("/api/v1/orders?{query}"), Bytes::new())
}

/// A POST with 1 KiB of JSON.
pub(crate) fn post_json() -> Request<Bytes> {
    let (open, close) = (r#"{"symbol":"BTCUSDT","side":"BUY","note":""#, r#""}"#);
    let body = format!("{open}{}{close}", "x".repeat(1024 - open.len() - close.len()));
    let mut request = request(Method::POST, "/api/v1/orders", Bytes::from(body));
    request.headers_mut().insert("content-type", "application/json".parse().unwrap());
    request.headers_mut().insert("content-length", 1024.into());
    request
}

pub(crate) fn request(method: Method, target: &str, body: Bytes) -> Request<Bytes> {
    let request = Request::builder().method(method).uri(target);
    let request = request.header("host", "api.example.com").header("user-agent", "bench/1.0").header("accept", "*/*");
    request.body(body).unwrap()
}

/// HMAC-SHA256 alone, with a prepared key.
pub(crate) struct Bare(Hmac<Sha256>);

impl Bare {
    pub(crate) fn new() -> Self {
        Self(Hmac::new_from_slice(KEY.as_bytes()).unwrap())
    }

    pub(crate) fn hmac(&self, string: &[u8]) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(string);
        mac.finalize().into_bytes().into()
    }

    pub(crate) fn hmac_and_sha256(&self, string: &[u8], body: &[u8]) -> ([u8; 32], [u8; 32]) {
        (self.hmac(string), Sha256::digest(body).into())
    }

    /// The string to sign of this signed request.
    pub(crate) fn string_to_sign(&self, signer: &Signer, request: &Request<Bytes>) -> Vec<u8> {
        let (parts, body) = request.clone().into_parts();
        let field = |name: &str| parts.headers[name].to_str().unwrap();
        let (timestamp, nonce): (Timestamp, Nonce) =
            (field("x-timestamp").parse().unwrap(), field("x-nonce").parse().unwrap());
        let string = signer.string_to_sign_at(&parts, Payload::Bytes(&body), timestamp, nonce).unwrap();
        let string = string.replace("{key}", KEY).into_bytes();
        assert_eq!(hex::encode(self.hmac(&string)), field("x-sign"));
        string
    }
}

/// Times the work, without creating the inputs and dropping the outputs.
pub(crate) fn time<I, O>(inputs: impl IntoIterator<Item = I>, mut work: impl FnMut(I) -> O) -> (Duration, Vec<O>) {
    let inputs = inputs.into_iter();
    let mut outputs = Vec::with_capacity(inputs.size_hint().0);
    let start = Instant::now();
    outputs.extend(inputs.map(|input| black_box(work(black_box(input)))));
    (start.elapsed(), outputs)
}

/// Measures several cases in turns, one batch each, so that noise of the machine affects all of them. The first case is
/// reported by criterion. A final line shows its ratio to each of the others, by the medians of all batches. A median
/// limits the effect of interrupted batches.
pub(crate) fn in_turns<const N: usize>(
    criterion: &mut Criterion,
    name: &str,
    works: [&str; N],
    batch: impl FnMut(usize) -> [Duration; N],
) {
    let Some(medians) = medians(criterion, name, batch) else { return };
    print!("{name}: {} {:.0} ns", works[0], medians[0]);
    for (work, median) in works.iter().zip(medians).skip(1) {
        print!("; {:.2} times {work} ({median:.0} ns)", medians[0] / median);
    }
    println!();
}

/// The medians in nanoseconds. Returns `None` if the case is filtered out, or if the bench runs as a test.
pub(crate) fn medians<const N: usize>(
    criterion: &mut Criterion,
    name: &str,
    mut batch: impl FnMut(usize) -> [Duration; N],
) -> Option<[f64; N]> {
    let mut samples: Vec<[f64; N]> = Vec::new();
    criterion.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            let mut sums = [Duration::ZERO; N];
            for done in (0..iterations).step_by(BATCH as usize) {
                let count = BATCH.min(iterations - done);
                let times = batch(count as usize);
                sums.iter_mut().zip(times).for_each(|(sum, time)| *sum += time);
                if count == BATCH {
                    samples.push(times.map(|time| time.as_nanos() as f64 / BATCH as f64));
                }
            }
            sums[0]
        });
    });
    let median = |i| median(samples.iter().map(|sample| sample[i]).collect());
    (!samples.is_empty()).then(|| std::array::from_fn(median))
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
