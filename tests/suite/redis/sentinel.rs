//! A master, its replica and three sentinels. A failover changes the master and loses claims that were not replicated.

use std::time::{Duration, Instant};

use countersign::store::redis::SentinelMaster;
use redis::sentinel::{SentinelClient, SentinelServerType};

use super::*;

/// The longest time for a claim: the deadline, and a margin for a busy machine.
const IN_TIME: Duration = Duration::from_millis(250 + 250);

/// The longest time for a failover: half a second until the master is missed, up to one second until a sentinel starts,
/// repeated votes after a split, and two seconds for the store.
const PATIENCE: Duration = Duration::from_secs(20);

type Store = RedisNonceStore<SentinelMaster>;

pub(super) struct Group {
    pub(super) master: RedisServer,
    pub(super) replica: RedisServer,
    /// The port of the replica.
    port: u16,
    /// Dropped first, because the sentinels would react to the end of the other servers.
    sentinels: Vec<(RedisServer, u16)>,
}

impl Group {
    pub(super) async fn start() -> Self {
        let (master, port) = RedisServer::start_on_port("", &["--repl-diskless-sync-delay", "0"]);
        let (replica, replica_port) = RedisServer::start_on_port(&format!("replicaof 127.0.0.1 {port}"), &[]);
        let mut group = Self { master, replica, port: replica_port, sentinels: Vec::new() };
        wait_for("a replica", || group.replica.is_synced()).await;
        let configuration = format!(
            "sentinel monitor nonces 127.0.0.1 {port} 2\n\
             sentinel down-after-milliseconds nonces 500\n\
             sentinel failover-timeout nonces 2000"
        );
        group.sentinels = (0..3).map(|_| RedisServer::start_on_port(&configuration, &["--sentinel"])).collect();
        wait_for("sentinels that know each other and the replica", || {
            let know = |(sentinel, _): &(RedisServer, u16)| {
                let info: String = sentinel.command(&["INFO", "sentinel"]);
                info.contains("status=ok") && info.contains("slaves=1,sentinels=3")
            };
            group.sentinels.iter().all(know)
        })
        .await;
        group
    }

    pub(super) fn client(&self) -> SentinelClient {
        let nodes: Vec<_> = self.sentinels.iter().map(|(_, port)| format!("redis://127.0.0.1:{port}")).collect();
        SentinelClient::build(nodes, "nonces", None, SentinelServerType::Master).unwrap()
    }

    fn store(&self) -> Store {
        RedisNonceStore::from_sentinel(self.client())
    }

    /// Waits until the replica has as many keys as the master.
    async fn replicate(&self) {
        let count = |server: &RedisServer| server.command::<u64>(&["DBSIZE"]);
        wait_for("the replica's copy", || count(&self.master) == count(&self.replica)).await;
    }

    /// Waits until all sentinels name the replica as the master.
    pub(super) async fn wait_for_promotion(&self) -> Instant {
        let ask = |(sentinel, _): &(RedisServer, u16)| {
            sentinel.command::<[String; 2]>(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "nonces"])[1]
                == self.port.to_string()
        };
        wait_for("another master", || self.sentinels.iter().all(ask)).await;
        Instant::now()
    }
}

async fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "timeout while waiting for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Claims until one succeeds. Asserts that each claim ends in time.
async fn wait_until_healthy(store: &Store) -> Instant {
    let start = Instant::now();
    for n in 0.. {
        let started = Instant::now();
        let answer = claim(store, &format!("healthy-again-{n}")).await;
        assert!(started.elapsed() < IN_TIME, "{:?}: {answer:?}", started.elapsed());
        match answer {
            Ok(status) => {
                assert_eq!(status, NonceStatus::New);
                break;
            }
            Err(error) => assert!(start.elapsed() < PATIENCE, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Instant::now()
}

async fn claim_all(store: &Store, name: &str) -> Vec<NonceStatus> {
    let mut answers = Vec::new();
    for n in 0..50 {
        answers.push(claim(store, &format!("{name}-{n}")).await.unwrap());
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn failover_loses_only_unreplicated_claims() {
    let mut group = Group::start().await;
    let store = group.store();
    assert_eq!(store.check().await.unwrap().servers, 1);
    assert_eq!(claim_all(&store, "replicated").await, [NonceStatus::New; 50]);
    assert_eq!(group.master.command::<u64>(&["DBSIZE"]), 50, "the claims go to the master");
    group.replicate().await;

    // The replica is frozen, so it cannot reconnect before the master is killed.
    group.replica.freeze();
    group.master.command::<()>(&["CLIENT", "KILL", "TYPE", "replica"]);
    assert_eq!(claim_all(&store, "unreplicated").await, [NonceStatus::New; 50]);
    assert_eq!(claim_all(&store, "unreplicated").await, [NonceStatus::Replayed; 50]);
    group.master.kill();
    group.replica.thaw();

    let killed = Instant::now();
    let (promoted, healthy) = tokio::join!(group.wait_for_promotion(), wait_until_healthy(&store));
    println!("promoted after {:?}, claims succeed after {:?}", promoted - killed, healthy - killed);
    // The store follows within 2 s. One more second allows for a busy machine.
    assert!(healthy.saturating_duration_since(promoted) < Duration::from_secs(3), "{:?}", healthy - promoted);
    assert_eq!(claim_all(&store, "replicated").await, [NonceStatus::Replayed; 50]);
    assert_eq!(
        claim_all(&store, "unreplicated").await,
        [NonceStatus::New; 50],
        "the loss that docs/redis.md describes"
    );
    assert_eq!(claim_all(&store, "unreplicated").await, [NonceStatus::Replayed; 50]);
}

/// Writes as fast as possible until the master is killed. The replica follows with its normal delay.
#[tokio::test(flavor = "multi_thread")]
async fn failover_under_load_loses_only_the_last_claims() {
    let mut group = Group::start().await;
    let store = group.store();
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            let mut made = 0;
            while claim(&store, &format!("load-{made}")).await.is_ok() {
                made += 1;
            }
            made
        }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    group.master.kill();
    let made: usize = writer.await.unwrap();
    wait_until_healthy(&store).await;
    let mut lost = Vec::new();
    for n in 0..made {
        match claim(&store, &format!("load-{n}")).await.unwrap() {
            NonceStatus::Replayed => assert!(lost.is_empty(), "{n} is kept, but earlier ones are lost: {lost:?}"),
            _ => lost.push(n),
        }
    }
    println!("{} of {made} claims lost", lost.len());
    assert!(made > 100 && lost.len() < made / 2, "{} of {made} claims lost", lost.len());
}

#[tokio::test]
async fn master_requiring_replicas_rejects_claims_without_them() {
    let group = Group::start().await;
    let store = group.store();
    group.master.command::<()>(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    assert_eq!(claim(&store, "nonce-1").await.unwrap(), NonceStatus::New);
    group.replica.freeze();
    group.master.command::<()>(&["CLIENT", "KILL", "TYPE", "replica"]);
    let error = claim(&store, "nonce-2").await.unwrap_err();
    assert!(format!("{error:?}").contains("NOREPLICAS"), "{error:?}");
    group.replica.thaw();
    wait_until_healthy(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn master_connection_killed_while_idle_fails_no_claim() {
    let group = Group::start().await;
    let store = group.store();
    for name in ["before", "between", "afterwards"] {
        assert_eq!(claim_all(&store, name).await, [NonceStatus::New; 50]);
        group.master.command::<()>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hung_master_is_replaced() {
    let group = Group::start().await;
    let store = group.store();
    assert_eq!(claim_all(&store, "replicated").await, [NonceStatus::New; 50]);
    group.replicate().await;
    group.master.freeze();
    wait_until_healthy(&store).await;
    group.master.thaw();
    assert_eq!(claim_all(&store, "replicated").await, [NonceStatus::Replayed; 50]);
}

#[tokio::test(flavor = "multi_thread")]
async fn hung_sentinel_is_skipped() {
    let mut group = Group::start().await;
    let store = group.store();
    assert_eq!(claim_all(&store, "replicated").await, [NonceStatus::New; 50]);
    group.replicate().await;
    // The client asks this sentinel first.
    group.sentinels[0].0.freeze();
    group.master.kill();
    wait_until_healthy(&store).await;
    assert_eq!(claim_all(&store, "replicated").await, [NonceStatus::Replayed; 50]);
    group.sentinels[0].0.thaw();
}
