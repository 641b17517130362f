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
mod turns;

use axum::body::Body;
use bytes::Bytes;
use countersign::{
    AppId, Nonce, Signer, StaticKeys, Verifier,
    store::{NonceClaim, NonceStatus, NonceStore, RedisNonceStore, Retention},
};
use http::{Extensions, Request};
use redis::{Client, InfoDict, Value, aio::MultiplexedConnection};
use tokio::runtime::Runtime;

use self::{
    server::RedisServer,
    turns::{EACH, Rig, Row, Task, Work, connect, nonces},
};

const TASKS: usize = 64;

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
    println!("redis: {:.1} bytes for each nonce", allocated_bytes(&rig, &claim));
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
        let nonces: [Nonce; REQUESTS] = nonces();
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

/// The bytes of Redis's memory per nonce.
fn allocated_bytes(rig: &Rig, claim: &Claim) -> f64 {
    let used = || {
        let info: String = rig.server.command(&["INFO", "memory"]);
        InfoDict::new(&info).get::<f64>("used_memory").unwrap()
    };
    let before = used();
    rig.runtime.block_on(async {
        for _ in 0..CLAIMS / REQUESTS {
            let mut task = claim.task();
            for turn in 0..REQUESTS {
                task.turn(turn).await;
            }
        }
    });
    (used() - before) / CLAIMS as f64
}
