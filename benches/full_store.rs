//! A full memory store: the time of its claims, and the shares of the apps.
//!
//! ```sh
//! cargo bench --bench full_store
//! ```
//!
//! **Time.** Many apps fill a store of the default capacity, 8 million nonces. The nonces expire evenly over 300
//! seconds. Then two threads make 100,000 claims during one minute of the verifier's clock. Nonces expire all the time,
//! and most claims find the store full until some nonces are removed. Each of the five lines is one run.
//!
//! **Shares.** A store of 64,000 nonces, and one app that claims as fast as possible.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench may panic")]

use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use countersign::{
    AppId, Nonce,
    store::{MemoryNonceStore, NonceClaim, NonceStatus, NonceStore, Retention},
};
use futures_util::FutureExt;

const CLAIMS: usize = 100_000;
const NOW: u64 = 1_700_000_000;

fn main() {
    // Without the flag, cargo runs the bench as a test.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let (capacity, runs) = if is_bench { (MemoryNonceStore::DEFAULT_CAPACITY, 5) } else { (10_000, 1) };
    println!("claims of a full store of {capacity} nonces");
    println!("{:>12}{:>12}{:>12}{:>12}{:>12}", "median", "99.9 %", "slowest", "accepted", "rejected");
    for _ in 0..runs {
        time(capacity);
    }
    shares();
}

fn claim(store: &MemoryNonceStore, app: &AppId, retention: Retention) -> bool {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let nonce: Nonce = format!("nonce-{}", COUNT.fetch_add(1, Relaxed)).parse().unwrap();
    matches!(store.claim(&NonceClaim::new(app, &nonce), retention).now_or_never().unwrap(), Ok(NonceStatus::New))
}

fn app(n: usize) -> AppId {
    format!("app-{n}").parse().unwrap()
}

fn time(capacity: usize) {
    let store = MemoryNonceStore::with_capacity(capacity);
    let apps: Vec<_> = (0..10_000).map(app).collect();
    let mut n = 0;
    while claim(&store, &apps[n % apps.len()], Retention::new(NOW, NOW + 301 + n as u64 % 300)) {
        n += 1;
    }
    let mut times: Vec<(Duration, bool)> = thread::scope(|scope| {
        let threads = [0, 1].map(|half| {
            let (store, apps) = (&store, &apps);
            scope.spawn(move || {
                let claim_of = |n: usize| {
                    let now = NOW + 301 + (n * 60 / CLAIMS) as u64;
                    let (app, retention) = (&apps[n % apps.len()], Retention::new(now, now + 301));
                    let start = Instant::now();
                    let is_first = claim(store, app, retention);
                    (start.elapsed(), is_first)
                };
                (half..CLAIMS).step_by(2).map(claim_of).collect::<Vec<_>>()
            })
        });
        threads.map(|thread| thread.join().unwrap()).concat()
    });
    times.sort_unstable();
    let accepted = times.iter().filter(|(_, is_first)| *is_first).count();
    let [median, most, slowest] =
        [CLAIMS / 2, CLAIMS * 999 / 1000, CLAIMS - 1].map(|at| times[at].0.as_secs_f64() * 1e6);
    println!("{median:>9.1} us{most:>9.1} us{slowest:>9.0} us{accepted:>12}{:>12}", CLAIMS - accepted);
}

fn shares() {
    const CAPACITY: usize = 64_000;
    let retention = Retention::new(NOW, NOW + 601);
    let flooded = || {
        let store = MemoryNonceStore::with_capacity(CAPACITY);
        while claim(&store, &app(0), retention) {}
        store
    };
    let held =
        |store: &MemoryNonceStore, app: &AppId, wanted| (0..wanted).filter(|_| claim(store, app, retention)).count();
    println!("\nshares of {CAPACITY} nonces during a flood");
    println!("{:<48}{:>8} of {CAPACITY}", "the flood alone", flooded().len());
    let store = flooded();
    let small: usize = (1..=200).map(|n| held(&store, &app(n), 100)).sum();
    println!("{:<48}{small:>8} of 20000", "200 apps of 100 nonces");
    println!("{:<48}{:>8} of 1920", "one app with 3 % of the capacity", held(&flooded(), &app(1), 1920));
    let rejected = (0..10).map(|_| {
        let store = flooded();
        (1..=5000).filter(|n| !claim(&store, &app(*n), retention)).count()
    });
    println!("{:<48}{:>8} of 50000", "first nonces rejected, 5,000 apps in ten stores", rejected.sum::<usize>());
}
