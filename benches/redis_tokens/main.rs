//! The cost of tokens in Redis: `Verifier::verify` of requests with a token, with a `RedisTokenStore` and a
//! `RedisNonceStore` that share a connection. It is compared with the same two commands of the same client crate by hand:
//! an `HGET` and a `SET key 1 NX PX ttl` in one pipeline, and one after the other. Another case has no token. 64 tasks share
//! one connection to a redis-server on a unix socket, which the bench starts and stops.
//!
//! ```sh
//! cargo bench --bench redis_tokens
//! ```
//!
//! The cases take turns in the same run, one batch each. The operations per second of a case are the median of its
//! batches. An argument sets the number of tasks: `cargo bench --bench redis_tokens -- 8`. The last lines show how many bytes
//! of Redis's memory a session takes, and how long Redis works on each command.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs, reason = "a bench may panic")]

mod inside;
#[path = "../rig/mod.rs"]
mod rig;
#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../../tests/suite/redis/server.rs"]
mod server;
#[path = "../turns/mod.rs"]
mod turns;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use axum::body::Body;
use bytes::Bytes;
use countersign::{
    Nonce, Signer, StaticKeys, Token, Verifier,
    store::{RedisNonceStore, RedisTokenStore},
    token::{NewToken, OwnerKey, Tokens},
};
use http::{Extensions, Request};
use redis::{Value, aio::MultiplexedConnection};
use tokio::runtime::Runtime;

use self::{
    server::RedisServer,
    turns::{EACH, Rig, Row, Task, Work, connect, nonces},
};

const TASKS: usize = 64;

/// The number of requests of a task. It repeats them with different key prefixes of the nonces.
const REQUESTS: usize = 4;

const BATCHES: usize = 320;

/// The retention in Redis of a verifier with the default tolerance of 300 seconds.
const MILLISECONDS: usize = 361_000;

const SESSIONS: usize = 1000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let tasks = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(TASKS);
    // Without the flag, cargo runs the bench as a test.
    let batches = if arguments.iter().any(|argument| argument == "--bench") { BATCHES } else { 2 };

    let mut rig = Rig { runtime: Runtime::new().unwrap(), server: RedisServer::start(), tasks };
    let nonces = RedisNonceStore::new(rig.server.client());
    let store = RedisTokenStore::sharing(&nonces, OwnerKey::new(*b"a secret of the service").unwrap());
    let tokens = Tokens::new(store.clone());
    let sessions = Arc::new(rig.runtime.block_on(Sessions::new(&tokens, &rig.server)));
    let verifier = Verifier::new(StaticKeys::new([("demo".parse().unwrap(), rig::secret())]).unwrap());
    let with_tokens = Verify::new(&verifier.clone().with_tokens(tokens), &nonces, sessions.clone(), true);
    let without = Verify::new(&verifier, &nonces, sessions.clone(), false);
    let connection = rig.runtime.block_on(connect(rig.server.client()));
    let by_hand = [true, false].map(|is_pipelined| ByHand {
        connection: connection.clone(),
        sessions: sessions.clone(),
        is_pipelined,
    });
    let names = ["verify with a token", "verify without one", "HGET and SET, one pipeline", "HGET, then SET"];
    let mut rows = names.map(Row::new);
    for batch in 0..batches {
        for turn in 0..rows.len() {
            // The order rotates, so that no case always follows the same one.
            let work = (batch + turn) % rows.len();
            let row = &mut rows[work];
            match work {
                0 => rig.batch(&with_tokens, row),
                1 => rig.batch(&without, row),
                2 => rig.batch(&by_hand[0], row),
                _ => rig.batch(&by_hand[1], row),
            }
        }
    }
    let [pipelined, in_turn] = [2, 3].map(|row: usize| rows[row].rate());
    println!("redis, {tasks} tasks         operations/s  of plain       p50       p99   CPU here  CPU of Redis");
    rows.iter_mut().for_each(|row| row.print(pipelined));
    println!("verify with a token: {:.3} of HGET, then SET", rows[0].rate() / in_turn);
    for each in [1, 3] {
        let bytes = rig.runtime.block_on(inside::bytes(&rig.server, &store, each));
        println!("redis: {bytes:.1} bytes for each session, {each} of one owner");
    }
    rig.runtime.block_on(inside::print_times(&rig.server, &store));
}

/// Sessions of different users, and their hashes in Redis.
struct Sessions {
    tokens: Vec<Token>,
    stored: Vec<Stored>,
    next: AtomicUsize,
}

struct Stored {
    key: String,
    field: Vec<u8>,
    value: Vec<u8>,
}

impl Sessions {
    async fn new(tokens: &Tokens, server: &RedisServer) -> Self {
        let mut issued = Vec::new();
        for n in 0..SESSIONS {
            let new = NewToken::for_user(format!("user-{n}").parse().unwrap()).on("web".parse().unwrap());
            issued.push(tokens.issue_for(&"demo".parse().unwrap(), new).await.unwrap().token().clone());
        }
        let keys: Vec<String> = server.command(&["KEYS", "cs1:s:*"]);
        let read = |key: String| {
            let fields: Vec<(Vec<u8>, Vec<u8>)> = server.command(&["HGETALL", &key]);
            let (field, value) = fields.into_iter().find(|(field, _)| field.len() == 32).unwrap();
            Stored { key, field, value }
        };
        let stored = keys.into_iter().map(read).collect();
        Self { tokens: issued, stored, next: AtomicUsize::new(0) }
    }

    fn restore(&self, server: &RedisServer) {
        let mut pipeline = redis::pipe();
        for Stored { key, field, value } in &self.stored {
            pipeline.hset(key, field, value);
        }
        pipeline.exec(&mut server.client().get_connection().unwrap()).unwrap();
    }

    fn next(&self) -> usize {
        self.next.fetch_add(1, Relaxed) % SESSIONS
    }
}

struct Verify {
    verifiers: Vec<Verifier<StaticKeys, RedisNonceStore>>,
    signer: Signer,
    unsigned: Request<Bytes>,
    sessions: Arc<Sessions>,
    has_token: bool,
}

struct VerifyTask {
    verifiers: Vec<Verifier<StaticKeys, RedisNonceStore>>,
    requests: Vec<Option<Request<Body>>>,
}

impl Verify {
    fn new(
        verifier: &Verifier<StaticKeys>,
        nonces: &RedisNonceStore,
        sessions: Arc<Sessions>,
        has_token: bool,
    ) -> Self {
        let with = |number| verifier.clone().with_nonces(nonces.clone().with_key_prefix(prefix(number)));
        let verifiers = (0..EACH / REQUESTS).map(with).collect();
        Self { verifiers, signer: rig::signer(), unsigned: rig::get(), sessions, has_token }
    }
}

impl Work for Verify {
    type Task = VerifyTask;

    fn task(&self) -> VerifyTask {
        let request = |_| {
            let mut signer = self.signer.clone();
            if self.has_token {
                signer = signer.with_token(self.sessions.tokens[self.sessions.next()].clone());
            }
            Some(signer.sign(self.unsigned.clone()).unwrap().map(Body::from))
        };
        VerifyTask { verifiers: self.verifiers.clone(), requests: (0..REQUESTS).map(request).collect() }
    }

    fn restore(&self, server: &RedisServer) {
        self.sessions.restore(server);
    }
}

impl Task for VerifyTask {
    async fn turn(&mut self, turn: usize) {
        let slot = &mut self.requests[turn % REQUESTS];
        let mut request = self.verifiers[turn / REQUESTS].verify(slot.take().unwrap()).await.unwrap();
        // Restores the request to its original state.
        *request.extensions_mut() = Extensions::new();
        *slot = Some(request);
    }
}

struct ByHand {
    connection: MultiplexedConnection,
    sessions: Arc<Sessions>,
    is_pipelined: bool,
}

struct ByHandTask {
    connection: MultiplexedConnection,
    /// The key and the field of a session, and the key of a nonce.
    keys: Vec<(String, Vec<u8>, String)>,
    is_pipelined: bool,
}

impl Work for ByHand {
    type Task = ByHandTask;

    fn task(&self) -> ByHandTask {
        let nonces: [Nonce; REQUESTS] = nonces();
        let key = |turn| {
            let Stored { key, field, .. } = &self.sessions.stored[self.sessions.next()];
            (key.clone(), field.clone(), format!("{}demo/{}", prefix(turn / REQUESTS), nonces[turn % REQUESTS]))
        };
        let (connection, is_pipelined) = (self.connection.clone(), self.is_pipelined);
        ByHandTask { connection, keys: (0..EACH).map(key).collect(), is_pipelined }
    }

    fn restore(&self, server: &RedisServer) {
        self.sessions.restore(server);
    }
}

impl Task for ByHandTask {
    async fn turn(&mut self, turn: usize) {
        let (key, field, nonce) = &self.keys[turn];
        let (mut get, mut set) = (redis::cmd("HGET"), redis::cmd("SET"));
        get.arg(key).arg(field);
        set.arg(nonce).arg(1).arg("NX").arg("PX").arg(MILLISECONDS);
        let answers: [Value; 2] = match self.is_pipelined {
            true => {
                let mut pipeline = redis::Pipeline::with_capacity(2);
                pipeline.add_command(get).add_command(set);
                pipeline.query_async(&mut self.connection).await.unwrap()
            }
            false => [
                get.query_async(&mut self.connection).await.unwrap(),
                set.query_async(&mut self.connection).await.unwrap(),
            ],
        };
        assert!(matches!(&answers, [Value::BulkString(_), Value::Okay]), "{answers:?}");
    }
}

fn prefix(number: usize) -> String {
    format!("cs{number}:")
}
