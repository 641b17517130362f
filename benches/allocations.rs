//! Allocations: for each request that is signed, verified, or accepted by the layer, for each of a million live sessions
//! in the memory store, and for each of a million live nonces in the memory store and in moka's two caches.
//!
//! ```sh
//! cargo bench --bench allocations
//! ```
//!
//! The figures of requests are the median of a thousand, after a warm-up of a thousand. Growth of the nonce store is
//! not part of the median. Requests and results are created and dropped outside the measurement.
//!
//! moka's caches are measured right after they are filled with [the keys of the bench `nonces`](nonces/stores.rs). The
//! store is measured while as many nonces expire as arrive, at its minimum and maximum, because it frees expired nonces
//! gradually.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench may panic")]

mod rig;
#[allow(dead_code, reason = "the bench `nonces` uses the rest")]
#[path = "nonces/stores.rs"]
mod stores;

use std::convert::Infallible;

use allocation_counter::measure;
use axum::body::Body;
use bytes::Bytes;
use countersign::{
    StaticKeys, Verifier,
    store::MemoryTokenStore,
    token::{NewToken, Tokens},
};
use futures_util::FutureExt;
use http::{Request, Response};
use tower::{Layer, Service, service_fn};

use self::stores::{Future, LIVE, Ours, Store, Sync};

const REQUESTS: usize = 1000;

fn main() {
    println!("allocations                        number      bytes");
    requests("GET, 8 parameters", &rig::get());
    requests("POST, 1 KiB of JSON", &rig::post_json());
    // Without the flag, cargo runs the bench as a test.
    let nonces = if std::env::args().any(|argument| argument == "--bench") { LIVE } else { 1000 };
    println!("{:<28} bytes of each", format!("{nonces} live sessions"));
    println!("{:<32} {:.0}", "one of each user", sessions(nonces, 1));
    println!("{:<32} {:.0}", "three of each user", sessions(nonces, 3));
    println!("{:<28} bytes of each", format!("{nonces} live nonces"));
    let (fewest, most) = aging(nonces);
    println!("{:<32} {fewest:.1} to {most:.1}", "MemoryNonceStore");
    println!("{:<32} {:.1}", "moka::sync::Cache", filled(Sync::new, nonces));
    println!("{:<32} {:.1}", "moka::future::Cache", filled(Future::new, nonces));
}

/// The bytes of each session, if each user has this many.
fn sessions(count: u64, of_user: u64) -> f64 {
    let (app, mut tokens) = ("demo".parse().unwrap(), None);
    let counted = measure(|| {
        let tokens = tokens.insert(Tokens::new(MemoryTokenStore::new().unwrap()));
        for number in 0..count {
            let new = NewToken::for_user(format!("user-{}", number / of_user).parse().unwrap());
            tokens.issue_for(&app, new).now_or_never().unwrap().unwrap();
        }
    });
    counted.bytes_current as f64 / count as f64
}

fn requests(name: &str, unsigned: &Request<Bytes>) {
    let signer = rig::signer();
    let verifier = Verifier::new(StaticKeys::new([("demo".parse().unwrap(), rig::secret())]).unwrap());
    let empty = service_fn(async |_: Request<_>| Ok::<_, Infallible>(Response::new(Body::empty())));
    let mut service = verifier.clone().into_layer().layer(empty);
    let unsigned = || unsigned.clone();
    let signed = || signer.sign(unsigned()).unwrap().map(Body::from);
    // The futures never wait.
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

/// The number of allocations and their bytes.
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

/// The minimum and maximum of bytes per live nonce, while nonces arrive and expire.
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
    // moka updates its count with a delay, and its time is real.
    let live = store.map_or(0, |store| store.live());
    assert!(live > nonces * 9 / 10, "the machine was paused for too long");
    counted.bytes_current as f64 / live as f64
}

fn claim<S: Store>(store: &mut S, from: u64, count: u64) {
    for number in from..from + count {
        let key = store.key(number);
        assert!(store.claim(key));
    }
}
