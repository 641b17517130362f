//! The cost of submissions. In memory: `reserve` and `finish` of a `MemorySubmissionStore`, compared with two operations on a
//! `HashMap` behind a mutex; and a POST through the verifier and `SubmitOnceLayer`, compared with the same POST without
//! the layer. In Redis: `reserve` and `finish` of a `RedisSubmissionStore`, compared with `SET NX PX` and `SET PX` of the same
//! client crate by hand, with 64 tasks on one connection to a redis-server that the bench starts and stops.
//!
//! ```sh
//! cargo bench --bench submissions
//! ```
//!
//! The cases take turns in the same run. A line shows the ratio of the medians.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs, reason = "a bench may panic")]

mod by_hand;
#[path = "../rig/mod.rs"]
mod rig;
#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../../tests/suite/redis/server.rs"]
mod server;
#[path = "../turns/mod.rs"]
mod turns;

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{Router, body::Body, routing::post};
use bytes::Bytes;
use countersign::{
    Scheme, StaticKeys, Verifier,
    store::{
        Fingerprint, Finish, Lease, MemorySubmissionStore, RedisSubmissionStore, Reserved, StoredAnswer, SubmissionRef,
        SubmissionStore, WhenLost,
    },
    submission::SubmitOnceLayer,
};
use criterion::Criterion;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

use self::{
    by_hand::ByHand,
    rig::time,
    server::RedisServer,
    turns::{EACH, Rig, Row, Task, Work, connect},
};

const TASKS: usize = 64;
const BATCHES: usize = 160;
const TTL: Duration = Duration::from_secs(86_400);
const LEASE: Lease = Lease { id: [1; 16], lasts: Duration::from_secs(60) };

fn main() {
    let mut criterion = rig::criterion();
    in_memory(&mut criterion);
    through_the_layer(&mut criterion);
    criterion.final_summary();
    in_redis();
}

/// Places of different submissions.
fn place() -> SubmissionRef {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut key = [7; 32];
    let number = COUNT.fetch_add(1, Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    key[..8].copy_from_slice(&number.to_be_bytes());
    SubmissionRef::new(key, "demo".parse().unwrap(), None)
}

/// An answer with 100 bytes of JSON.
fn end() -> Finish {
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    Finish::Done(StoredAnswer::new(StatusCode::CREATED, None).with_replay(headers, Bytes::from(vec![b'x'; 100])))
}

async fn submit(store: &impl SubmissionStore, at: &SubmissionRef, end: &Finish) {
    let fingerprint = Fingerprint::from_bytes([1; 32]);
    let reserved = store.reserve(at, &LEASE, &fingerprint, TTL, WhenLost::Unknown).await.unwrap();
    assert_eq!(reserved, Reserved::Yes);
    assert!(store.finish(at, &LEASE, end).await.unwrap());
}

fn in_memory(criterion: &mut Criterion) {
    let (store, map) = (MemorySubmissionStore::with_capacity(8_000_000, 0), Mutex::new(HashMap::new()));
    let end = end();
    let works = ["reserve and finish", "two operations on a HashMap"];
    rig::in_turns(criterion, "submissions/in memory", works, |count| {
        let places = || (0..count).map(|_| place()).collect::<Vec<_>>();
        let (submitted, _) = time(places(), |at| submit(&store, &at, &end).now_or_never().unwrap());
        let (plain, _) = time(places(), |at| {
            map.lock().unwrap().insert(*at.key(), None);
            map.lock().unwrap().insert(*at.key(), Some(end.clone()));
        });
        [submitted, plain]
    });
}

fn through_the_layer(criterion: &mut Criterion) {
    // One thread, as for a server with a runtime for each core.
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let scheme = || Scheme::new().with_signed_headers([HeaderName::from_static("idempotency-key")]).unwrap();
    let verifier = || {
        let keys = StaticKeys::new([("demo".parse().unwrap(), rig::secret())]).unwrap();
        Verifier::new(keys).with_scheme(scheme())
    };
    let route = || Router::new().route("/api/v1/orders", post(|| async { (StatusCode::CREATED, "{}") }));
    let once = SubmitOnceLayer::by_key(&scheme()).unwrap();
    let guarded = route().layer(once).layer(verifier().with_fingerprints().into_layer());
    let plain = route().layer(verifier().into_layer());
    let signer = rig::signer().with_scheme(scheme());
    let request = || {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut request = rig::post_json();
        let key = format!("order-{}", COUNT.fetch_add(1, Relaxed));
        request.headers_mut().insert("idempotency-key", key.parse().unwrap());
        signer.sign(request).unwrap().map(Body::from)
    };
    let call = |service: &Router, request: Request<Body>| {
        let response = runtime.block_on(service.clone().oneshot(request)).unwrap();
        assert_eq!(response.status(), StatusCode::CREATED);
    };
    let works = ["a POST that runs once", "the same POST without the layer"];
    rig::in_turns(criterion, "submissions/POST, 1 KiB of JSON", works, |count| {
        let requests = || (0..count).map(|_| request()).collect::<Vec<_>>();
        let (once, _) = time(requests(), |request| call(&guarded, request));
        let (plain, _) = time(requests(), |request| call(&plain, request));
        [once, plain]
    });
}

fn in_redis() {
    // Without the flag, cargo runs the bench as a test.
    let batches = if std::env::args().any(|argument| argument == "--bench") { BATCHES } else { 2 };
    let mut rig = Rig { runtime: Runtime::new().unwrap(), server: RedisServer::start(), tasks: TASKS };
    let submissions = Submissions(RedisSubmissionStore::new(rig.server.client()));
    let by_hand = ByHand(rig.runtime.block_on(connect(rig.server.client())));
    let mut rows = ["reserve, then finish", "SET NX PX, then SET PX"].map(Row::new);
    for batch in 0..batches {
        for turn in 0..rows.len() {
            // The order rotates, so that no case always follows the same one.
            let work = (batch + turn) % rows.len();
            match work {
                0 => rig.batch(&submissions, &mut rows[work]),
                _ => rig.batch(&by_hand, &mut rows[work]),
            }
        }
    }
    let plain = rows[1].rate();
    println!("redis, {TASKS} tasks         submissions/s  of plain       p50       p99   CPU here  CPU of Redis");
    rows.iter_mut().for_each(|row| row.print(plain));
    println!(
        "redis: {} bytes for each submission with an answer of 100 bytes",
        rig.runtime.block_on(bytes(&rig.server))
    );
}

/// The memory of Redis for each submission.
async fn bytes(server: &RedisServer) -> u64 {
    const COUNT: u64 = 10_000;
    let used = || -> u64 {
        let info: String = server.command(&["INFO", "memory"]);
        redis::InfoDict::new(&info).get("used_memory").unwrap()
    };
    let (store, before, end) = (RedisSubmissionStore::new(server.client()), used(), end());
    for _ in 0..COUNT {
        submit(&store, &place(), &end).await;
    }
    (used() - before) / COUNT
}

struct Submissions(RedisSubmissionStore);

struct Submission {
    store: RedisSubmissionStore,
    places: Vec<SubmissionRef>,
    end: Finish,
}

impl Work for Submissions {
    type Task = Submission;

    fn task(&self) -> Submission {
        Submission { store: self.0.clone(), places: (0..EACH).map(|_| place()).collect(), end: end() }
    }
}

impl Task for Submission {
    async fn turn(&mut self, turn: usize) {
        submit(&self.store, &self.places[turn], &self.end).await;
    }
}
