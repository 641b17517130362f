//! The cost of nonces in Redis: `Verifier::verify` with a `RedisNonceStore`, compared with a plain `SET key 1 NX PX
//! ttl` of the same client crate with keys of the same form. Two more cases are `verify` of requests that are not in
//! the CPU caches, and the store's claim alone. 64 tasks share one connection to a redis-server on a unix socket, which
//! the bench starts and stops.
//!
//! ```sh
//! cargo bench --bench redis
//! ```
//!
//! The cases take turns in the same run, one batch each. The operations per second of a case are the median of its
//! batches. The bench prints its own table, because criterion measures one case after the other. The table includes
//! processor time, because client and server share the machine's cores.
//!
//! An argument sets the number of tasks: `cargo bench --bench redis -- 8`. The last line shows how many bytes of
//! Redis's memory a nonce takes.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs, reason = "a bench may panic")]

mod rig;
#[allow(dead_code, reason = "the tests use the rest")]
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

/// The operations of a task in a batch.
const EACH: usize = 40;

/// The number of requests of a task. It repeats them with different key prefixes, so they stay in the CPU caches, like
/// requests that were just received. With one request for each operation, 2,560 for all tasks, they do not stay there.
const REQUESTS: usize = 4;

const BATCHES: usize = 320;

/// The retention in Redis of a verifier with the default tolerance of 300 seconds.
const SECONDS: u64 = 361;

const CLAIMS: usize = 100_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let tasks = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(TASKS);
    // Without the flag, cargo runs the bench as a test.
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
            // The order rotates, so that no case always follows the same one.
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

/// A measured case.
trait Work {
    type Task: Task;

    /// Creates the state of one task for one batch.
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
        // Restores the request to its original state.
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

/// One store with one connection, under several key prefixes.
fn stores(client: Client) -> Vec<RedisNonceStore> {
    let store = RedisNonceStore::new(client);
    (0..EACH / REQUESTS).map(|number| store.clone().with_key_prefix(prefix(number))).collect()
}

fn prefix(number: usize) -> String {
    format!("cs{number}:")
}

/// A connection with the settings of the store.
async fn connect(client: Client) -> MultiplexedConnection {
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    client.get_multiplexed_async_connection_with_config(&config).await.unwrap()
}

/// 32 hex digits each, the format that signers use.
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
    /// Measures a batch, without the setup of its tasks.
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
        // Each batch starts with an empty database.
        let () = self.server.command(&["FLUSHALL"]);
    }

    /// The processor time of this process and of Redis, in seconds.
    fn processor_time(&self) -> [f64; 2] {
        let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten();
        let here = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok());
        let nanoseconds = here.filter_map(|times| times.split(' ').next()?.parse::<f64>().ok());
        let info: String = self.server.command(&["INFO", "cpu"]);
        let info = InfoDict::new(&info);
        let redis = ["used_cpu_user_main_thread", "used_cpu_sys_main_thread"];
        [nanoseconds.sum::<f64>() / 1e9, redis.iter().filter_map(|name| info.get::<f64>(name)).sum()]
    }

    /// The bytes of Redis's memory per nonce.
    fn allocated_bytes(&self, claim: &Claim) -> f64 {
        let used = || {
            let info: String = self.server.command(&["INFO", "memory"]);
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

/// Runs a task. Returns it, so that it is dropped outside the measurement.
async fn series<T: Task>(mut task: T) -> (T, Vec<Duration>) {
    let mut latencies = Vec::with_capacity(EACH);
    for turn in 0..EACH {
        let start = Instant::now();
        task.turn(turn).await;
        latencies.push(start.elapsed());
    }
    (task, latencies)
}

/// The results of one case.
struct Row {
    name: &'static str,
    /// Operations per second of each batch.
    rates: Vec<f64>,
    latencies: Vec<Duration>,
    /// Processor time of this process and of Redis, in seconds.
    processor: [f64; 2],
}

impl Row {
    fn new(name: &'static str) -> Self {
        Self { name, rates: Vec::new(), latencies: Vec::new(), processor: [0.0; 2] }
    }

    /// The median of the operations per second.
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
