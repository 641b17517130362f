//! What nonces in Redis cost: `Verifier::verify` with a `RedisNonceStore`, beside the least that it could do, which is
//! a plain `SET key 1 NX PX ttl` of the same client crate with keys of the same form. Between the two: `verify` of
//! requests that have to be fetched from memory first, and the store's claim by itself. 64 tasks share one connection to
//! a redis-server that the bench starts, on a unix socket, and ends.
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
    store::{NonceClaim, NonceStatus, NonceStore, RedisNonceStore, Retention},
};
use http::{Extensions, Request};
use redis::{AsyncConnectionConfig, Client, InfoDict, Value, aio::MultiplexedConnection};
use tokio::runtime::Runtime;

use self::server::RedisServer;

const TASKS: usize = 64;

/// What a task does in a batch.
const EACH: usize = 40;

/// Of so many requests of its own, again and again, each time under another key prefix: they stay in the caches, as those
/// do that were just received. With one for each turn, 2,560 between all tasks, they do not.
const REQUESTS: usize = 4;

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
    let verify = Verify::new(rig.server.client(), REQUESTS);
    let from_memory = Verify::new(rig.server.client(), EACH);
    let claim = Claim::new(rig.server.client());
    let set = Set(rig.runtime.block_on(connect(rig.server.client())));
    let names = ["verify", "verify, from memory", "RedisNonceStore::claim", "plain SET NX PX"];
    let mut rows = names.map(Row::new);
    for batch in 0..batches {
        for turn in 0..rows.len() {
            // Nobody comes after the same one each time.
            let work = (batch + turn) % rows.len();
            let row = &mut rows[work];
            match work {
                0 => rig.batch(&verify, row),
                1 => rig.batch(&from_memory, row),
                2 => rig.batch(&claim, row),
                _ => rig.batch(&set, row),
            }
        }
    }
    let plain = rows[3].rate();
    println!("redis, {tasks} tasks          operations/s  of plain       p50       p99   CPU here  CPU of Redis");
    rows.iter_mut().for_each(|row| row.print(plain));
    println!("redis: {:.1} bytes for each nonce", rig.allocated_bytes(&claim));
}

/// What is measured.
trait Work {
    type Task: Task;

    /// For a task and a batch of its own.
    fn task(&self) -> Self::Task;
}

trait Task: Send + 'static {
    fn turn(&mut self, turn: usize) -> impl Future<Output = ()> + Send;
}

struct Verify {
    verifiers: Vec<Verifier<StaticKeys, RedisNonceStore>>,
    signer: Signer,
    unsigned: Request<Bytes>,
    requests: usize,
}

struct VerifyTask {
    verifiers: Vec<Verifier<StaticKeys, RedisNonceStore>>,
    requests: Vec<Option<Request<Body>>>,
}

impl Verify {
    fn new(client: Client, requests: usize) -> Self {
        let keys = StaticKeys::new([("demo".parse().unwrap(), rig::secret())]).unwrap();
        let verifier = Verifier::new(keys);
        let verifiers = stores(client).into_iter().map(|store| verifier.clone().with_nonces(store)).collect();
        Self { verifiers, signer: rig::signer(), unsigned: rig::get(), requests }
    }
}

impl Work for Verify {
    type Task = VerifyTask;

    fn task(&self) -> VerifyTask {
        let request = |_| Some(self.signer.sign(self.unsigned.clone()).unwrap().map(Body::from));
        VerifyTask { verifiers: self.verifiers.clone(), requests: (0..self.requests).map(request).collect() }
    }
}

impl Task for VerifyTask {
    async fn turn(&mut self, turn: usize) {
        let count = self.requests.len();
        let slot = &mut self.requests[turn % count];
        let mut request = self.verifiers[turn / count].verify(slot.take().unwrap()).await.unwrap();
        // As it came.
        *request.extensions_mut() = Extensions::new();
        *slot = Some(request);
    }
}

#[derive(Clone)]
struct Claim {
    stores: Vec<RedisNonceStore>,
    app: AppId,
    nonces: [Nonce; REQUESTS],
}

impl Claim {
    fn new(client: Client) -> Self {
        Self { stores: stores(client), app: "demo".parse().unwrap(), nonces: nonces() }
    }
}

impl Work for Claim {
    type Task = Self;

    fn task(&self) -> Self {
        Self { nonces: nonces(), ..self.clone() }
    }
}

impl Task for Claim {
    async fn turn(&mut self, turn: usize) {
        let retention = Retention::new(1_700_000_000, 1_700_000_000 + SECONDS);
        let (store, nonce) = (&self.stores[turn / REQUESTS], &self.nonces[turn % REQUESTS]);
        assert_eq!(store.claim(&NonceClaim::new(&self.app, nonce), retention).await.unwrap(), NonceStatus::New);
    }
}

struct Set(MultiplexedConnection);

struct SetTask {
    connection: MultiplexedConnection,
    keys: Vec<String>,
}

impl Work for Set {
    type Task = SetTask;

    fn task(&self) -> SetTask {
        let nonces = nonces();
        let key = |turn| format!("{}demo/{}", prefix(turn / REQUESTS), nonces[turn % REQUESTS]);
        SetTask { connection: self.0.clone(), keys: (0..EACH).map(key).collect() }
    }
}

impl Task for SetTask {
    async fn turn(&mut self, turn: usize) {
        let mut command = redis::cmd("SET");
        command.arg(&self.keys[turn]).arg(1).arg("NX").arg("PX").arg(SECONDS * 1000);
        assert_eq!(command.query_async::<Value>(&mut self.connection).await.unwrap(), Value::Okay);
    }
}

/// One store and one connection, under as many prefixes as it takes.
fn stores(client: Client) -> Vec<RedisNonceStore> {
    let store = RedisNonceStore::new(client);
    (0..EACH / REQUESTS).map(|number| store.clone().with_key_prefix(prefix(number))).collect()
}

fn prefix(number: usize) -> String {
    format!("cs{number}:")
}

/// As the store makes it.
async fn connect(client: Client) -> MultiplexedConnection {
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    client.get_multiplexed_async_connection_with_config(&config).await.unwrap()
}

/// 32 hex digits each, as signers make them.
fn nonces() -> [Nonce; REQUESTS] {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    std::array::from_fn(|_| {
        let number = u128::from(COUNT.fetch_add(1, Ordering::Relaxed));
        format!("{:032x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)).parse().unwrap()
    })
}

struct Rig {
    runtime: Runtime,
    server: RedisServer,
    tasks: usize,
}

impl Rig {
    /// Measures a batch, without what its tasks begin with.
    fn batch(&mut self, work: &impl Work, row: &mut Row) {
        let tasks: Vec<_> = (0..self.tasks).map(|_| work.task()).collect();
        let before = self.processor_time();
        let (elapsed, done) = self.runtime.block_on(async {
            let start = Instant::now();
            let tasks: Vec<_> = tasks.into_iter().map(|task| tokio::spawn(series(task))).collect();
            let mut done = Vec::with_capacity(self.tasks);
            for task in tasks {
                done.push(task.await.unwrap());
            }
            (start.elapsed(), done)
        });
        let after = self.processor_time();
        row.latencies.extend(done.into_iter().flat_map(|(_, latencies)| latencies));
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
    fn allocated_bytes(&self, claim: &Claim) -> f64 {
        let used = || {
            let info: String = self.server.tell(&["INFO", "memory"]);
            InfoDict::new(&info).get::<f64>("used_memory").unwrap()
        };
        let before = used();
        self.runtime.block_on(async {
            for _ in 0..CLAIMS / REQUESTS {
                let mut task = claim.task();
                for turn in 0..REQUESTS {
                    task.turn(turn).await;
                }
            }
        });
        (used() - before) / CLAIMS as f64
    }
}

/// The task comes back, so that it is not dropped in the time that is taken.
async fn series<T: Task>(mut task: T) -> (T, Vec<Duration>) {
    let mut latencies = Vec::with_capacity(EACH);
    for turn in 0..EACH {
        let start = Instant::now();
        task.turn(turn).await;
        latencies.push(start.elapsed());
    }
    (task, latencies)
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
