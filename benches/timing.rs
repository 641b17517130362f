//! Whether the time of a rejection depends on the reason: a test after dudect (Reparaz, Balasch and Verbauwhede, "dude,
//! is my code constant time?", 2017).
//!
//! ```sh
//! cargo bench --bench timing
//! ```
//!
//! Requests of two classes are rejected in random order, and each `Verifier::verify` is timed. Welch's t-test then asks
//! whether the two classes take the same time on average. It runs once over all times, and once over the times below
//! each of a hundred percentiles, because interruptions of the process are in the tail. The bench prints the largest
//! |t|. Up to 4.5 there is no sign of a difference. From 10 on there is a difference, and the run fails. In between,
//! run it again: a real difference grows with the number of samples.
//!
//! Two controls check the test on this machine. Two identical classes must show no difference. A signature that is also
//! compared byte by byte, up to the first wrong byte, must show one.
//!
//! There are three comparisons of known and unknown apps. The first two use a key store that does the same work for both,
//! and measure the verifier alone, without and with explained signatures. Differences below two nanoseconds do not fail the run: between builds of the same
//! code, the difference varied from one nanosecond more for the known app to one less, by the layout of code and data.
//! The third uses `StaticKeys`, whose map finds a known app a few nanoseconds later than it misses an unknown one. Its
//! result is printed and never fails the run.
//!
//! The bench cannot prove that there is no difference. It measures one machine, one compiler and these classes. It
//! measures neither a network, whose noise hides far more, nor caches and branch predictors under the control of an
//! attacker on the same machine.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench may panic")]

mod rig;

use std::{
    hash::{BuildHasher, RandomState},
    hint::black_box,
    process::ExitCode,
    time::Instant,
};

use axum::body::Body;
use bytes::Bytes;
use countersign::{
    App, AppId, Payload, Secret, Signer, StaticKeys, Verifier,
    clock::ManualClock,
    store::{KeyStore, StoreError},
};
use futures_util::FutureExt;
use http::{HeaderValue, Method, Request};

const NOW: u64 = 1_700_000_000;
const APPS: u64 = 64;
const KNOWN: &str = "app-000";

/// Of both classes together.
const SAMPLES: usize = 2_000_000;
/// A |t| of this size is not random.
const DIFFERENCE: f64 = 10.0;

/// The difference between a known and an unknown app that varies from build to build, in nanoseconds.
const BUILD_NOISE: f64 = 2.0;

/// Times that are not counted.
const WARM_UP: usize = 20_000;

/// Requests that are prepared together, so that no measurement directly follows a preparation.
const BATCH: usize = 64;

fn main() -> ExitCode {
    let bench = Timing::new(StaticKeys::new((0..APPS).map(|n| (known(n), key(n)))).unwrap());
    let even = Timing::new(UniformKeys(App::from(key(0))));
    let (first, last) = (with_other_digit(&bench.valid_sign, 0), with_other_digit(&bench.valid_sign, 63));
    let ends = |class: usize, _| (known(0), [&first, &last][class].clone());

    let same = bench.compare("control: no difference", |_, random| (known(random), hex(random)));
    let naive = Timing { compares_naively: true, ..Timing::new(UniformKeys(App::from(key(0)))) };
    let naive = naive.compare("control: a comparison that ends early", ends);
    let sign = [
        bench.compare("sign: its first digit is wrong, or its last", ends),
        bench.compare("sign: its last digit alone is wrong, or all", |class, random| {
            (known(0), [last.clone(), hex(random)][class].clone())
        }),
    ];
    let known_or_not = |class: usize, random| ([known(0), known(1)][class].clone(), hex(random));
    let app = even.compare("app: known, or not", known_or_not);
    let explained = Timing::new(UniformKeys(App::from(key(0))));
    let explained = Timing { verifier: explained.verifier.with_explanations(), ..explained };
    let explained = explained.compare("app: known, or not, and explained", known_or_not);
    bench.compare("app: known to StaticKeys, or not", |class, random| {
        ([known(random), known(APPS + random % APPS)][class].clone(), hex(random))
    });

    if naive.t.abs() < DIFFERENCE || same.t.abs() >= DIFFERENCE {
        println!("the controls failed: this machine is too busy for the test");
        return ExitCode::FAILURE;
    }
    let is_even = sign.iter().all(|outcome| outcome.t.abs() < DIFFERENCE);
    let is_noise = |app: &Outcome| app.t.abs() < DIFFERENCE || app.difference.abs() < BUILD_NOISE;
    if is_even && is_noise(&app) && is_noise(&explained) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn key(n: u64) -> Secret {
    Secret::new(format!("{n:032}")).unwrap()
}

fn known(n: u64) -> AppId {
    format!("app-{:03}", n % (2 * APPS)).parse().unwrap()
}

/// A key store with one app that does the same work for known and unknown apps.
struct UniformKeys(App);

impl KeyStore for UniformKeys {
    async fn keys(&self, app: &AppId) -> Result<Option<App>, StoreError> {
        let known = black_box(self.0.clone());
        Ok((black_box(app).as_str() == KNOWN).then_some(known))
    }
}

struct Timing<K> {
    verifier: Verifier<K>,
    /// A request signed by the first of the apps.
    request: Request<Bytes>,
    valid_sign: String,
    random: RandomState,
    /// Also compares signatures naively, in addition to the verifier.
    compares_naively: bool,
}

/// The result of comparing two classes.
struct Outcome {
    t: f64,
    /// The mean of the second class minus the mean of the first, in nanoseconds, over the times of this t-test.
    difference: f64,
    samples: usize,
}

impl<K: KeyStore> Timing<K> {
    fn new(keys: K) -> Self {
        let (mut parts, body) =
            rig::request(Method::GET, "/api/v1/orders?side=BUY&symbol=BTC", Bytes::new()).into_parts();
        let signer = Signer::new(known(0), key(0));
        let (timestamp, nonce) = (NOW.try_into().unwrap(), "4f3c2b1a0d9e8f7a6b5c4d3e2f1a0b9c".parse().unwrap());
        signer.sign_at(&mut parts, Payload::Bytes(&body), timestamp, nonce).unwrap();
        let valid_sign = parts.headers["x-sign"].to_str().unwrap().to_owned();
        Self {
            verifier: Verifier::new(keys).with_clock(ManualClock::at(NOW)),
            request: Request::from_parts(parts, body),
            valid_sign,
            random: RandomState::new(),
            compares_naively: false,
        }
    }

    /// Times rejections of requests with the app id and signature that `claim` returns for a class and a random number.
    fn compare(&self, name: &str, claim: impl Fn(usize, u64) -> (AppId, String)) -> Outcome {
        let mut times: [Vec<f64>; 2] = Default::default();
        for batch in 0..(SAMPLES + WARM_UP) / BATCH {
            let random = |i: usize| self.random.hash_one((name, batch, i));
            let requests: Vec<_> = (0..BATCH)
                .map(|i| {
                    let class = random(i) as usize % 2;
                    let (app, sign) = claim(class, random(i + BATCH));
                    (class, self.incoming(app.as_str(), &sign), sign)
                })
                .collect();
            for (class, request, sign) in requests {
                let (request, sign) = (black_box(request), black_box(sign));
                let start = Instant::now();
                let result = black_box(self.verifier.verify(request).now_or_never().unwrap());
                if self.compares_naively {
                    black_box(is_same(sign.as_bytes(), self.valid_sign.as_bytes()));
                }
                let time = start.elapsed();
                assert_eq!(result.unwrap_err().kind().code(), "invalid_signature");
                if batch >= WARM_UP / BATCH {
                    times[class].push(time.as_nanos() as f64);
                }
            }
        }
        let outcome = Outcome::of(&times);
        let verdict = match outcome.t.abs() {
            ..4.5 => "no difference seen",
            4.5..DIFFERENCE => "run it again",
            _ => "a difference",
        };
        println!(
            "{name}: {verdict}: largest |t| of 101 is {:.2} (of {} times, {:+.2} ns)",
            outcome.t.abs(),
            outcome.samples,
            outcome.difference
        );
        outcome
    }

    fn incoming(&self, app: &str, sign: &str) -> Request<Body> {
        let mut request = self.request.clone();
        request.headers_mut().insert("x-app-id", HeaderValue::from_str(app).unwrap());
        request.headers_mut().insert("x-sign", HeaderValue::from_str(sign).unwrap());
        request.map(Body::from)
    }
}

impl Outcome {
    /// The t-test with the largest |t|, of those over all times and over the times below each percentile.
    fn of(times: &[Vec<f64>; 2]) -> Self {
        let mut all = times.concat();
        all.sort_by(f64::total_cmp);
        // The percentiles of dudect, which are denser towards the end.
        let percentile = |i: i32| all[((1.0 - 0.5_f64.powf(f64::from(10 * i) / 100.0)) * all.len() as f64) as usize];
        let crops = (1..=100).map(percentile).chain([f64::INFINITY]);
        let outcomes = crops.map(|crop| Self::welch(times.each_ref().map(|times| Moments::below(times, crop))));
        outcomes.filter(|outcome| outcome.t.is_finite()).max_by(|a, b| a.t.abs().total_cmp(&b.t.abs())).unwrap()
    }

    fn welch([one, other]: [Moments; 2]) -> Self {
        let difference = other.mean - one.mean;
        let t = difference / (one.variance / one.count + other.variance / other.count).sqrt();
        Self { t, difference, samples: (one.count + other.count) as usize }
    }
}

struct Moments {
    count: f64,
    mean: f64,
    variance: f64,
}

impl Moments {
    fn below(times: &[f64], crop: f64) -> Self {
        let times = || times.iter().filter(|time| **time < crop);
        let count = times().count() as f64;
        let mean = times().sum::<f64>() / count;
        let variance = times().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
        Self { count, mean, variance }
    }
}

/// The naive comparison of the control.
#[inline(never)]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    for (a, b) in a.iter().zip(b) {
        if black_box(a) != black_box(b) {
            return false;
        }
    }
    true
}

fn with_other_digit(sign: &str, at: usize) -> String {
    let digit = if sign.as_bytes()[at] == b'0' { "1" } else { "0" };
    [&sign[..at], digit, &sign[at + 1..]].concat()
}

/// A signature of no app.
fn hex(random: u64) -> String {
    let digits = [1, 3, 5, 7].map(|factor: u64| format!("{:016x}", random.wrapping_mul(factor)));
    digits.concat()
}
