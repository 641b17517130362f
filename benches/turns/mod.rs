//! Shared by the benches of the stores in Redis: cases that take turns, and their table.

#![allow(dead_code, reason = "no bench uses all of it")]

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use countersign::Nonce;
use redis::{AsyncConnectionConfig, Client, InfoDict, aio::MultiplexedConnection};
use tokio::runtime::Runtime;

use crate::server::RedisServer;

/// The operations of a task in a batch.
pub(crate) const EACH: usize = 40;

/// A measured case.
pub(crate) trait Work {
    type Task: Task;

    /// Creates the state of one task for one batch.
    fn task(&self) -> Self::Task;

    /// Stores again what all batches need, in the empty database.
    fn restore(&self, _server: &RedisServer) {}
}

pub(crate) trait Task: Send + 'static {
    fn turn(&mut self, turn: usize) -> impl Future<Output = ()> + Send;
}

/// A connection with the settings of the store.
pub(crate) async fn connect(client: Client) -> MultiplexedConnection {
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    client.get_multiplexed_async_connection_with_config(&config).await.unwrap()
}

/// 32 hex digits each, the format that signers use.
pub(crate) fn nonces<const N: usize>() -> [Nonce; N] {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    std::array::from_fn(|_| {
        let number = u128::from(COUNT.fetch_add(1, Ordering::Relaxed));
        format!("{:032x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)).parse().unwrap()
    })
}

pub(crate) struct Rig {
    pub(crate) runtime: Runtime,
    pub(crate) server: RedisServer,
    pub(crate) tasks: usize,
}

impl Rig {
    /// Measures a batch, without the setup of its tasks.
    pub(crate) fn batch(&mut self, work: &impl Work, row: &mut Row) {
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
        work.restore(&self.server);
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
pub(crate) struct Row {
    name: &'static str,
    /// Operations per second of each batch.
    rates: Vec<f64>,
    latencies: Vec<Duration>,
    /// Processor time of this process and of Redis, in seconds.
    processor: [f64; 2],
}

impl Row {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, rates: Vec::new(), latencies: Vec::new(), processor: [0.0; 2] }
    }

    /// The median of the operations per second.
    pub(crate) fn rate(&mut self) -> f64 {
        self.rates.sort_by(f64::total_cmp);
        self.rates[self.rates.len() / 2]
    }

    pub(crate) fn print(&mut self, plain: f64) {
        self.latencies.sort();
        let latency = |part: f64| self.latencies[(self.latencies.len() as f64 * part) as usize].as_secs_f64() * 1e6;
        let [p50, p99] = [0.5, 0.99].map(latency);
        let [here, redis] = self.processor.map(|seconds| seconds * 1e6 / self.latencies.len() as f64);
        let (name, rate) = (self.name, self.rate());
        let ratio = rate / plain;
        println!("{name:<25} {rate:>12.0} {ratio:>9.3} {p50:>6.0} us {p99:>6.0} us {here:>7.2} us {redis:>10.2} us");
    }
}
