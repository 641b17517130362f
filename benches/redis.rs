//! What nonces in Redis cost: `Verifier::verify` with a `RedisNonceStore`, beside the least that it could do, which is
//! a plain `SET key 1 NX PX ttl` of the same client crate with keys of the same form; between the two, the store's
//! claim by itself. 64 tasks share one connection to a redis-server that the bench starts, on a unix socket, and ends.
//!
//! ```sh
//! cargo bench --bench redis
//! ```
//!
//! The works take turns in the same run, a batch of each, and a work's operations per second are the median of its
//! batches. The table is the bench's own: criterion times one thing after the other. It tells processor time too, since
//! client and server share the machine's cores: of two, whatever the one takes is taken from the other.
//!
//! The number of tasks can be given: `cargo bench --bench redis -- 8`. The last line tells how much of Redis's memory
//! a nonce takes.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench that fails is no bench"
)]

mod rig;
#[allow(dead_code, reason = "tests need more of it")]
#[path = "../tests/suite/redis/server.rs"]
mod server;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use axum::body::Body;
use bytes::Bytes;
use countersign::{
    AppId, Nonce, Signer, StaticKeys, Verifier,
    store::{Lifetime, NonceStore, Occurrence, RedisNonceStore},
};
use http::Request;
use redis::{AsyncConnectionConfig, Client, InfoDict, Value, aio::MultiplexedConnection};
use tokio::runtime::Runtime;

use self::server::RedisServer;

const TASKS: usize = 64;

/// What a task does in a batch: 64 do 2,560 operations, whose requests stay in the caches as those do that were just
/// received.
const EACH: usize = 40;

const BATCHES: usize = 320;

/// How long a verifier with the default tolerance of 300 seconds has nonces in Redis remembered.
const SECONDS: u64 = 361;

const CLAIMS: usize = 100_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let tasks = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(TASKS);
    // Without the flag cargo only tests the bench.
    let batches = if arguments.iter().any(|argument| argument == "--bench") { BATCHES } else { 2 };

    let mut rig = Rig { runtime: Runtime::new().unwrap(), server: RedisServer::start(), tasks };
    let verify = Verify::new(rig.server.client());
    let claim = Claim { store: RedisNonceStore::new(rig.server.client()), app: "demo".parse().unwrap() };
    let set = Set(rig.runtime.block_on(connect(rig.server.client())));
    let mut rows = [Row::new("verify"), Row::new("RedisNonceStore::claim"), Row::new("plain SET NX PX")];
    for batch in 0..batches {
        for turn in 0..rows.len() {
            // Nobody comes after the same one each time.
            let work = (batch + turn) % rows.len();
            let row = &mut rows[work];
            match work {
                0 => rig.batch(&verify, row),
                1 => rig.batch(&claim, row),
                _ => rig.batch(&set, row),
            }
        }
    }
    let plain = rows[2].rate();
    println!("redis, {tasks} tasks          operations/s  of plain       p50       p99   CPU here  CPU of Redis");
    rows.iter_mut().for_each(|row| row.print(plain));
    println!("redis: {:.1} bytes for each nonce", rig.memory(&claim));
}

/// What is measured, once for each input.
trait Work: Clone + Send + 'static {
    type Input: Send + 'static;
    type Output: Send + 'static;

    fn input(&self) -> Self::Input;

    fn work(&mut self, input: Self::Input) -> impl Future<Output = Self::Output> + Send;
}

#[derive(Clone)]
struct Verify {
    verifier: Verifier<StaticKeys, RedisNonceStore>,
    signer: Signer,
    unsigned: Request<Bytes>,
}

impl Verify {
    fn new(client: Client) -> Self {
        let keys = StaticKeys::new([("demo".parse().unwrap(), rig::secret())]);
        let verifier = Verifier::new(keys).with_nonces(RedisNonceStore::new(client));
        Self { verifier, signer: rig::signer(), unsigned: rig::get() }
    }
}

impl Work for Verify {
    type Input = Request<Body>;
    type Output = Request<Body>;

    fn input(&self) -> Request<Body> {
        self.signer.sign(self.unsigned.clone()).unwrap().map(Body::from)
    }

    async fn work(&mut self, request: Request<Body>) -> Request<Body> {
        self.verifier.verify(request).await.unwrap()
    }
}

#[derive(Clone)]
struct Claim {
    store: RedisNonceStore,
    app: AppId,
}

impl Work for Claim {
    type Input = Nonce;
    type Output = ();

    fn input(&self) -> Nonce {
        nonce().parse().unwrap()
    }

    async fn work(&mut self, nonce: Nonce) {
        let lifetime = Lifetime::new(1_700_000_000, 1_700_000_000 + SECONDS);
        assert_eq!(self.store.claim(&self.app, &nonce, lifetime).await.unwrap(), Occurrence::First);
    }
}

#[derive(Clone)]
struct Set(MultiplexedConnection);

impl Work for Set {
    type Input = String;
    type Output = ();

    fn input(&self) -> String {
        format!("cs1:demo/{}", nonce())
    }

    async fn work(&mut self, key: String) {
        let mut command = redis::cmd("SET");
        command.arg(key).arg(1).arg("NX").arg("PX").arg(SECONDS * 1000);
        assert_eq!(command.query_async::<Value>(&mut self.0).await.unwrap(), Value::Okay);
    }
}

/// As the store makes it.
async fn connect(client: Client) -> MultiplexedConnection {
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    client.get_multiplexed_async_connection_with_config(&config).await.unwrap()
}

/// 32 hex digits, as signers make them.
fn nonce() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = u128::from(COUNT.fetch_add(1, Ordering::Relaxed));
    format!("{:032x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
}

struct Rig {
    runtime: Runtime,
    server: RedisServer,
    tasks: usize,
}

impl Rig {
    /// Measures a batch, without making the inputs and without dropping what came of them.
    fn batch<W: Work>(&mut self, work: &W, row: &mut Row) {
        let inputs: Vec<Vec<_>> = (0..self.tasks).map(|_| (0..EACH).map(|_| work.input()).collect()).collect();
        let before = self.processor_time();
        let (elapsed, latencies) = self.runtime.block_on(async {
            let start = Instant::now();
            let tasks: Vec<_> = inputs.into_iter().map(|inputs| tokio::spawn(series(work.clone(), inputs))).collect();
            let mut done = Vec::with_capacity(self.tasks);
            for task in tasks {
                done.push(task.await.unwrap());
            }
            (start.elapsed(), done)
        });
        let after = self.processor_time();
        row.latencies.extend(latencies.into_iter().flat_map(|(latencies, _)| latencies));
        row.rates.push((self.tasks * EACH) as f64 / elapsed.as_secs_f64());
        (0..2).for_each(|side| row.processor[side] += after[side] - before[side]);
        // So that nobody finds more there than the others.
        let () = self.server.tell(&["FLUSHALL"]);
    }

    /// Of this process and of Redis, in seconds.
    fn processor_time(&self) -> [f64; 2] {
        let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten();
        let here = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok());
        let nanoseconds = here.filter_map(|times| times.split(' ').next()?.parse::<f64>().ok());
        let info: String = self.server.tell(&["INFO", "cpu"]);
        let info = InfoDict::new(&info);
        let redis = ["used_cpu_user_main_thread", "used_cpu_sys_main_thread"];
        [nanoseconds.sum::<f64>() / 1e9, redis.iter().filter_map(|name| info.get::<f64>(name)).sum()]
    }

    /// What a nonce takes of Redis's memory, in bytes.
    fn memory(&self, claim: &Claim) -> f64 {
        let used = || {
            let info: String = self.server.tell(&["INFO", "memory"]);
            InfoDict::new(&info).get::<f64>("used_memory").unwrap()
        };
        let before = used();
        let nonces = (0..CLAIMS).map(|_| claim.input()).collect();
        self.runtime.block_on(series(claim.clone(), nonces));
        (used() - before) / CLAIMS as f64
    }
}

async fn series<W: Work>(mut work: W, inputs: Vec<W::Input>) -> (Vec<Duration>, Vec<W::Output>) {
    let (mut latencies, mut outputs) = (Vec::with_capacity(inputs.len()), Vec::with_capacity(inputs.len()));
    for input in inputs {
        let start = Instant::now();
        outputs.push(work.work(input).await);
        latencies.push(start.elapsed());
    }
    (latencies, outputs)
}

/// What came of one work.
struct Row {
    name: &'static str,
    /// Operations per second of each batch.
    rates: Vec<f64>,
    latencies: Vec<Duration>,
    /// Seconds, of this process and of Redis.
    processor: [f64; 2],
}

impl Row {
    fn new(name: &'static str) -> Self {
        Self { name, rates: Vec::new(), latencies: Vec::new(), processor: [0.0; 2] }
    }

    /// Operations per second: the median.
    fn rate(&mut self) -> f64 {
        self.rates.sort_by(f64::total_cmp);
        self.rates[self.rates.len() / 2]
    }

    fn print(&mut self, plain: f64) {
        self.latencies.sort();
        let latency = |part: f64| self.latencies[(self.latencies.len() as f64 * part) as usize].as_secs_f64() * 1e6;
        let [p50, p99] = [0.5, 0.99].map(latency);
        let [here, redis] = self.processor.map(|seconds| seconds * 1e6 / self.latencies.len() as f64);
        let (name, rate) = (self.name, self.rate());
        let ratio = rate / plain;
        println!("{name:<25} {rate:>12.0} {ratio:>9.3} {p50:>6.0} us {p99:>6.0} us {here:>7.2} us {redis:>10.2} us");
    }
}
