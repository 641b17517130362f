//! Connections that are closed while idle, and extreme lifetimes.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::future::join_all;

use super::*;

/// Longer than a connection may be idle before it is checked with a PING.
const IDLE_TIME: Duration = Duration::from_millis(150);

async fn claim_new<C: Connect>(store: &RedisNonceStore<C>) {
    assert_eq!(claim(store, rig::fresh_nonce().as_str()).await.unwrap(), NonceStatus::New);
}

#[tokio::test]
async fn server_idle_timeout_fails_no_claim() {
    let server = RedisServer::start_with(&["--timeout", "1"]);
    let store = store(&server);
    for _ in 0..3 {
        claim_new(&store).await;
        tokio::time::sleep(Duration::from_millis(2500)).await;
    }
    join_all((0..200).map(|_| claim_new(&store))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_killed_while_idle_fails_no_claim() {
    let server = RedisServer::start();
    let store = store(&server);
    for _ in 0..5 {
        claim_new(&store).await;
        server.command::<()>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        tokio::time::sleep(IDLE_TIME).await;
        join_all((0..200).map(|_| claim_new(&store))).await;
    }
}

#[tokio::test]
async fn restart_while_idle_fails_no_claim() {
    let mut server = RedisServer::start();
    let store = store(&server);
    for _ in 0..3 {
        claim_new(&store).await;
        server.kill();
        server.restart();
        tokio::time::sleep(IDLE_TIME).await;
        claim_new(&store).await;
    }
}

/// A fake Redis that closes the connection at the nth `of` command without a reply. It counts connections and SETs.
fn server_closing_at(nth: usize, of: &'static str) -> (redis::Client, Arc<[AtomicUsize; 2]>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = redis::Client::open(format!("redis://{}", listener.local_addr().unwrap())).unwrap();
    let counts: Arc<[AtomicUsize; 2]> = Arc::default();
    let counted = counts.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, counts) = (stream.unwrap(), counted.clone());
            counts[0].fetch_add(1, SeqCst);
            std::thread::spawn(move || {
                let (mut buffer, mut seen) = ([0; 4096], 0);
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    let text = String::from_utf8_lossy(&buffer[..length]);
                    let word = |word: &str| text.matches(&format!("\r\n{word}\r\n")).count();
                    counts[1].fetch_add(word("SET"), SeqCst);
                    seen += word(of);
                    if word(of) > 0 && seen == nth {
                        return;
                    }
                    let commands = word("SET") + word("PING") + word("CLIENT");
                    stream.write_all(&b"+OK\r\n".repeat(commands)).unwrap();
                }
            });
        }
    });
    (client, counts)
}

#[tokio::test]
async fn claim_with_a_lost_reply_is_not_resent() {
    for pause in [Duration::ZERO, IDLE_TIME] {
        let (client, counts) = server_closing_at(2, "SET");
        let store = RedisNonceStore::new(client);
        claim_new(&store).await;
        tokio::time::sleep(pause).await;
        claim(&store, "nonce-lost").await.unwrap_err();
        tokio::time::sleep(IDLE_TIME).await;
        assert_eq!(counts[1].load(SeqCst), 2, "each claim is sent once");
        assert_eq!(counts[0].load(SeqCst), 1);
        claim_new(&store).await;
        assert_eq!((counts[0].load(SeqCst), counts[1].load(SeqCst)), (2, 3));
    }
}

#[tokio::test]
async fn connection_that_closes_at_the_ping_is_replaced() {
    let (client, counts) = server_closing_at(1, "PING");
    let store = RedisNonceStore::new(client);
    for connections in 1..4 {
        claim_new(&store).await;
        assert_eq!((counts[0].load(SeqCst), counts[1].load(SeqCst)), (connections, connections));
        tokio::time::sleep(IDLE_TIME).await;
    }
}

/// A fake Redis whose first connection stays open, and replies no more after one SET.
fn server_going_silent() -> redis::Client {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = redis::Client::open(format!("redis://{}", listener.local_addr().unwrap())).unwrap();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let (mut buffer, mut is_silent) = ([0; 4096], false);
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    let text = String::from_utf8_lossy(&buffer[..length]);
                    let word = |word: &str| text.matches(&format!("\r\n{word}\r\n")).count();
                    if !is_silent {
                        stream.write_all(&b"+OK\r\n".repeat(word("SET") + word("PING") + word("CLIENT"))).unwrap();
                    }
                    is_silent |= number == 0 && word("SET") > 0;
                }
            });
        }
    });
    client
}

#[tokio::test]
async fn silent_connection_is_replaced_after_the_deadline() {
    let store = RedisNonceStore::new(server_going_silent());
    claim_new(&store).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    claim(&store, "nonce-unanswered").await.unwrap_err();
    claim_new(&store).await;
}

#[tokio::test]
async fn silent_connection_is_kept_for_half_a_second() {
    let store = RedisNonceStore::new(server_going_silent());
    claim_new(&store).await;
    for nonce in ["nonce-unanswered-1", "nonce-unanswered-2"] {
        claim(&store, nonce).await.unwrap_err();
    }
    claim_new(&store).await;
}

#[tokio::test]
async fn longest_lifetimes_saturate() {
    let server = RedisServer::start();
    let app = "demo".parse().unwrap();
    for seconds in [u64::MAX, u64::MAX / 1000 + 1, i64::MAX as u64 / 1000, i64::MAX as u64 / 1000 + 1, 1 << 60] {
        let nonce = rig::fresh_nonce();
        let retention = Retention::new(0, seconds);
        assert_eq!(
            store(&server).claim(&NonceClaim::new(&app, &nonce), retention).await.unwrap(),
            NonceStatus::New,
            "{seconds}"
        );
        let left: i64 = server.command(&["PTTL", &format!("cs1:demo/{nonce}")]);
        assert!(left > 1 << 60, "{left} of {seconds} s");
    }
}
