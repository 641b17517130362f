//! Redis is unavailable, slow, full or misconfigured. Claims fail in time, none is accepted, and the store recovers.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::*;

/// The longest time for a claim: the deadline, and a margin for a busy machine.
const IN_TIME: Duration = Duration::from_millis(250 + 150);

/// Asserts that a claim fails in time. Returns the error.
async fn fails<C: Connect>(store: &RedisNonceStore<C>, nonce: &str) -> String {
    let start = Instant::now();
    let error = claim(store, nonce).await.expect_err("the claim must fail");
    assert!(start.elapsed() < IN_TIME, "{:?}: {error:?}", start.elapsed());
    let source = std::error::Error::source(&error).unwrap();
    match source.source() {
        Some(deeper) => format!("{source}: {deeper}"),
        None => source.to_string(),
    }
}

/// Claims until one succeeds. Asserts that this takes at most two seconds, and that each claim ends in time.
async fn wait_until_healthy<C: Connect>(store: &RedisNonceStore<C>) {
    let start = Instant::now();
    for n in 0.. {
        let started = Instant::now();
        let answer = claim(store, &format!("well-again-{n}")).await;
        assert!(started.elapsed() < IN_TIME);
        match answer {
            Ok(status) => return assert_eq!(status, NonceStatus::New),
            Err(error) => assert!(start.elapsed() < Duration::from_secs(2), "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn restarted_redis_is_used_again() {
    let mut server = RedisServer::start();
    let store = store(&server);
    assert_eq!(claim(&store, "nonce-1").await.unwrap(), NonceStatus::New);
    server.kill();
    for n in 0..5 {
        fails(&store, &format!("nonce-{n}")).await;
    }
    server.restart();
    wait_until_healthy(&store).await;
    assert_eq!(claim(&store, "nonce-1").await.unwrap(), NonceStatus::New, "this Redis keeps no data across restarts");
}

#[tokio::test]
async fn claims_succeed_once_redis_is_up() {
    let mut server = RedisServer::start();
    server.kill();
    let store = store(&server);
    assert!(fails(&store, "nonce-1").await.starts_with("not connected to Redis"));
    server.restart();
    wait_until_healthy(&store).await;
}

#[tokio::test]
async fn frozen_redis_fails_claims_until_it_resumes() {
    let server = RedisServer::start();
    let store = store(&server);
    assert_eq!(claim(&store, "nonce-1").await.unwrap(), NonceStatus::New);
    server.freeze();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        fails(&store, "nonce-2").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.thaw();
    wait_until_healthy(&store).await;
    assert_eq!(claim(&store, "nonce-1").await.unwrap(), NonceStatus::Replayed);
    assert_eq!(
        claim(&store, "nonce-2").await.unwrap(),
        NonceStatus::Replayed,
        "the claim was stored although its reply was lost"
    );
}

#[tokio::test]
async fn full_redis_fails_claims_and_forgets_none() {
    let server = RedisServer::start_with(&["--maxmemory", "2mb", "--maxmemory-policy", "noeviction"]);
    let store = store(&server);
    let mut n = 0;
    let error = loop {
        if let Err(error) = claim(&store, &format!("{n:0>120}")).await {
            break format!("{error:?}");
        }
        n += 1;
        assert!(n < 100_000, "Redis does not become full");
    };
    assert!(error.contains("OOM"), "{error}");
    for i in 0..n.min(1000) {
        let again = claim(&store, &format!("{i:0>120}")).await;
        assert!(!matches!(again, Ok(NonceStatus::New)), "a claimed nonce was forgotten");
    }
    server.command::<()>(&["CONFIG", "SET", "maxmemory", "100mb"]);
    wait_until_healthy(&store).await;
}

#[tokio::test]
async fn missing_redis_password_fails_claims() {
    let server = RedisServer::start();
    let store = store(&server);
    assert_eq!(claim(&store, "nonce-1").await.unwrap(), NonceStatus::New);
    server.command::<()>(&["CONFIG", "SET", "requirepass", "sesame"]);
    let mut raw = server.client().get_connection();
    assert!(raw.is_err() || redis::cmd("PING").query::<String>(raw.as_mut().unwrap()).is_err());
    let fresh = self::store(&server);
    assert!(fails(&fresh, "nonce-2").await.contains("NOAUTH"));
}

#[tokio::test]
async fn demoted_master_fails_claims_until_promoted() {
    let (master, replica) = (RedisServer::start_with(&["--port", "0"]), RedisServer::start());
    let store = store(&replica);
    assert_eq!(claim(&store, "nonce-1").await.unwrap(), NonceStatus::New);
    replica.command::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
    assert!(fails(&store, "nonce-2").await.to_lowercase().contains("read only"), "a replica accepts no writes");
    replica.command::<()>(&["REPLICAOF", "NO", "ONE"]);
    wait_until_healthy(&store).await;
    drop(master);
}

/// A fake server on loopback that calls `with` for each connection.
pub(super) fn custom_server(with: impl Fn(std::net::TcpStream) + Send + Clone + 'static) -> redis::Client {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let with = with.clone();
            std::thread::spawn(move || with(stream.unwrap()));
        }
    });
    redis::Client::open(url).unwrap()
}

#[tokio::test]
async fn unresponsive_redis_fails_claims_in_time() {
    let store = RedisNonceStore::new(custom_server(|stream| {
        std::thread::sleep(Duration::from_secs(30));
        drop(stream);
    }));
    for n in 0..8 {
        fails(&store, &format!("nonce-{n}")).await;
    }
}

/// The store does not wait forever for a connection that hangs while it is established.
#[tokio::test]
async fn unanswered_first_connection_is_replaced() {
    let count = Arc::new(AtomicUsize::new(0));
    let store = RedisNonceStore::new(custom_server(move |stream| {
        if count.fetch_add(1, Ordering::Relaxed) == 0 {
            std::thread::sleep(Duration::from_secs(30));
        }
        while answer_command(stream.try_clone().unwrap(), b"+OK\r\n") {}
    }));
    fails(&store, "nonce-1").await;
    wait_until_healthy(&store).await;
}

#[tokio::test]
async fn garbage_replies_fail_claims_in_time() {
    let store = RedisNonceStore::new(custom_server(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n\x00\xff$999999999\r\n");
        std::thread::sleep(Duration::from_secs(30));
    }));
    for n in 0..8 {
        fails(&store, &format!("nonce-{n}")).await;
    }
}

/// Replies to one read as Redis does, with `answer` to a SET. Returns whether to continue.
fn answer_command(mut stream: std::net::TcpStream, answer: &[u8]) -> bool {
    let mut buffer = [0; 4096];
    let Ok(length @ 1..) = stream.read(&mut buffer) else {
        return false;
    };
    let text = String::from_utf8_lossy(&buffer[..length]);
    let is_set = text.contains("\r\nSET\r\n");
    let commands = text.matches("\r\nCLIENT\r\n").count();
    let answers = if is_set { answer.to_vec() } else { b"+OK\r\n".repeat(commands.max(1)) };
    stream.write_all(&answers).is_ok() && !is_set
}

/// A fake server that replies to INFO with this text.
pub(super) fn fake_server(info: &str) -> redis::Client {
    let answer = format!("${}\r\n{info}\r\n", info.len()).into_bytes();
    custom_server(move |mut stream| {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]);
            let commands = text.matches("\r\nCLIENT\r\n").count();
            let answers = if text.contains("\r\nINFO\r\n") { answer.clone() } else { b"+OK\r\n".repeat(commands) };
            stream.write_all(&answers).unwrap();
        }
    })
}

#[tokio::test]
async fn loading_redis_fails_claims() {
    let store = RedisNonceStore::new(custom_server(|stream| {
        while answer_command(stream.try_clone().unwrap(), b"-LOADING Redis is loading the dataset in memory\r\n")
            || stream.peek(&mut [0]).is_ok_and(|n| n > 0)
        {}
    }));
    for n in 0..4 {
        assert!(fails(&store, &format!("nonce-{n}")).await.to_lowercase().contains("loading"));
    }
}

#[tokio::test]
async fn connection_closed_after_each_reply_is_replaced() {
    let store =
        RedisNonceStore::new(custom_server(|stream| while answer_command(stream.try_clone().unwrap(), b"+OK\r\n") {}));
    let mut answered = 0;
    for n in 0..20 {
        let start = Instant::now();
        answered += usize::from(claim(&store, &format!("nonce-{n}")).await.is_ok());
        assert!(start.elapsed() < IN_TIME);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(answered >= 10, "{answered} of 20");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_waiting_claims_fail_in_time() {
    let server = RedisServer::start();
    let store = store(&server);
    claim(&store, "nonce-1").await.unwrap();
    server.freeze();
    let start = Instant::now();
    let mut waiting = tokio::task::JoinSet::new();
    for n in 0..10_000 {
        let store = store.clone();
        waiting.spawn(async move { claim(&store, &format!("nonce-{n}")).await.map_err(|error| format!("{error:?}")) });
    }
    let errors: Vec<_> = waiting.join_all().await.into_iter().map(|answer| answer.unwrap_err()).collect();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    let busy = errors.iter().filter(|error| error.contains("Busy")).count();
    assert!(busy >= 10_000 - 2 * 1024, "only {busy} claims failed at once");
    server.thaw();
    wait_until_healthy(&store).await;
}

#[tokio::test]
async fn unreachable_redis_returns_503() {
    let mut server = RedisServer::start();
    let verifier = Verifier::new(rig::keys()).with_nonces(store(&server));
    let sign = || rig::signer().sign(rig::get("/")).unwrap();
    assert!(rig::verify(&verifier, sign()).await.is_ok());
    server.kill();
    let rejection = rig::verify(&verifier, sign()).await.unwrap_err();
    assert_eq!(rejection.kind(), RejectionKind::Unavailable);
    assert_eq!(rejection.to_response().headers()["retry-after"], "1");
    assert!(!String::from_utf8_lossy(rejection.to_response().body()).contains("Redis"), "callers must not see it");
}

/// A client that panics at its first connection, as redis-rs does without a crypto provider.
struct Panicking(std::sync::atomic::AtomicBool, redis::Client);

impl Connect for Panicking {
    type Connection = redis::aio::MultiplexedConnection;

    async fn connect(&self) -> redis::RedisResult<Self::Connection> {
        let is_first = !self.0.swap(true, std::sync::atomic::Ordering::Relaxed);
        assert!(!is_first, "on purpose");
        self.1.connect().await
    }
}

/// The runtime has several threads, because printing the panic can take longer than the deadline on a busy machine.
#[tokio::test(flavor = "multi_thread")]
async fn panicking_client_fails_only_its_claims() {
    let server = RedisServer::start();
    let store = RedisNonceStore::new(Panicking(false.into(), server.client()));
    fails(&store, "nonce-1").await;
    wait_until_healthy(&store).await;
}
