//! What is asked of the allocator: for each request that is signed, verified, or let in by the layer; and for each live
//! nonce, of which there are a million, in the store and in moka's two caches.
//!
//! ```sh
//! cargo bench --bench allocations
//! ```
//!
//! A request's are the median of a thousand, after as many to warm up; what a nonce store takes as it grows is told
//! apart. Requests and whatever comes of them are made and dropped outside.
//!
//! moka's caches are counted when they were just filled with [the keys of the bench `nonces`](nonces/stores.rs), the
//! store while as many nonces expire as come, at the fewest and at the most: it gives expired ones back by and by.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench that fails is no bench")]

mod rig;
#[allow(dead_code, reason = "the bench nonces needs more of it")]
#[path = "nonces/stores.rs"]
mod stores;

use std::convert::Infallible;

use allocation_counter::measure;
use axum::body::Body;
use bytes::Bytes;
use countersign::{StaticKeys, Verifier};
use futures_util::FutureExt;
use http::{Request, Response};
use tower::{Layer, Service, service_fn};

use self::stores::{Future, LIVE, Ours, Store, Sync};

const REQUESTS: usize = 1000;

fn main() {
    println!("allocations                        number      bytes");
    requests("GET, 8 parameters", &rig::get());
    requests("POST, 1 KiB of JSON", &rig::post_json());
    // Without the flag cargo only tests the bench.
    let nonces = if std::env::args().any(|argument| argument == "--bench") { LIVE } else { 1000 };
    println!("{:<28} bytes of each", format!("{nonces} live nonces"));
    let (fewest, most) = aging(nonces);
    println!("{:<32} {fewest:.1} to {most:.1}", "MemoryNonceStore");
    println!("{:<32} {:.1}", "moka::sync::Cache", filled(Sync::new, nonces));
    println!("{:<32} {:.1}", "moka::future::Cache", filled(Future::new, nonces));
}

fn requests(name: &str, unsigned: &Request<Bytes>) {
    let signer = rig::signer();
    let verifier = Verifier::new(StaticKeys::new([("demo".parse().unwrap(), rig::secret())]).unwrap());
    let empty = service_fn(async |_: Request<_>| Ok::<_, Infallible>(Response::new(Body::empty())));
    let mut service = verifier.clone().into_layer().layer(empty);
    let unsigned = || unsigned.clone();
    let signed = || signer.sign(unsigned()).unwrap().map(Body::from);
    // Nothing in it ever waits.
    let sign = median(unsigned, |request| signer.sign(request).unwrap());
    let verify = median(signed, |request| verifier.verify(request).now_or_never().unwrap().unwrap());
    let call = median(signed, |request| {
        let response = service.call(request).now_or_never().unwrap().unwrap();
        assert!(response.status().is_success());
        response
    });
    for (work, (number, bytes)) in [("sign", sign), ("verify", verify), ("VerifyLayer", call)] {
        println!("{:<32} {number:>8} {bytes:>10}", format!("{name}: {work}"));
    }
}

/// The number of allocations, and their bytes.
fn median<I, O>(input: impl Fn() -> I, mut work: impl FnMut(I) -> O) -> (u64, u64) {
    let mut counts: Vec<_> = (0..2 * REQUESTS)
        .map(|_| {
            let (input, mut output) = (input(), None);
            let counted = measure(|| output = Some(work(input)));
            (counted.count_total, counted.bytes_total)
        })
        .skip(REQUESTS)
        .collect();
    counts.sort_unstable();
    counts[REQUESTS / 2]
}

/// The bytes that the store holds for each live nonce, as nonces come and go.
fn aging(nonces: u64) -> (f64, f64) {
    let mut store = Ours::new();
    let (mut bytes, mut fewest, mut most) = (0, i64::MAX, 0);
    for from in (0..4 * nonces).step_by(1000) {
        bytes += measure(|| claim(&mut store, from, 1000)).bytes_current;
        if from >= 2 * nonces {
            (fewest, most) = (bytes.min(fewest), bytes.max(most));
        }
    }
    (fewest as f64 / nonces as f64, most as f64 / nonces as f64)
}

fn filled<S: Store>(make: impl FnOnce() -> S, nonces: u64) -> f64 {
    let mut store = None;
    let counted = measure(|| claim(store.insert(make()), 0, nonces));
    // It counts behind, and its time is real.
    let live = store.map_or(0, |store| store.live());
    assert!(live > nonces * 9 / 10, "the machine stood still for too long");
    counted.bytes_current as f64 / live as f64
}

fn claim<S: Store>(store: &mut S, from: u64, count: u64) {
    for number in from..from + count {
        let key = store.key(number);
        assert!(store.claim(key));
    }
}
