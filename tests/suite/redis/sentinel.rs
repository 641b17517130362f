//! A master, its replica and three sentinels: who the master is changes, and what it has not passed on is forgotten.

use std::time::{Duration, Instant};

use countersign::store::redis::SentinelMaster;
use redis::sentinel::{SentinelClient, SentinelServerType};

use super::*;

/// What claims may take at most: the deadline, and a little for a busy machine.
const IN_TIME: Duration = Duration::from_millis(250 + 250);

/// What a failover may take: half a second until the master is missed, up to one until a sentinel starts, votes that
/// are cast again when they are split, and two seconds for the store.
const PATIENCE: Duration = Duration::from_secs(20);

type Store = RedisNonceStore<SentinelMaster>;

struct Group {
    master: RedisServer,
    replica: RedisServer,
    /// The replica's.
    port: u16,
    /// They end first, for they would act on the end of the others.
    sentinels: Vec<(RedisServer, u16)>,
}

impl Group {
    async fn start() -> Self {
        let (master, port) = RedisServer::start_on_port("", &["--repl-diskless-sync-delay", "0"]);
        let (replica, replica_port) = RedisServer::start_on_port(&format!("replicaof 127.0.0.1 {port}"), &[]);
        let mut group = Self { master, replica, port: replica_port, sentinels: Vec::new() };
        poll("a replica", || group.replica.has_its_copy()).await;
        let configuration = format!(
            "sentinel monitor nonces 127.0.0.1 {port} 2\n\
             sentinel down-after-milliseconds nonces 500\n\
             sentinel failover-timeout nonces 2000"
        );
        group.sentinels = (0..3).map(|_| RedisServer::start_on_port(&configuration, &["--sentinel"])).collect();
        poll("sentinels that know each other and the replica", || {
            let know = |(sentinel, _): &(RedisServer, u16)| {
                let info: String = sentinel.tell(&["INFO", "sentinel"]);
                info.contains("status=ok") && info.contains("slaves=1,sentinels=3")
            };
            group.sentinels.iter().all(know)
        })
        .await;
        group
    }

    fn store(&self) -> Store {
        let nodes: Vec<_> = self.sentinels.iter().map(|(_, port)| format!("redis://127.0.0.1:{port}")).collect();
        RedisNonceStore::from_sentinel(
            SentinelClient::build(nodes, "nonces", None, SentinelServerType::Master).unwrap(),
        )
    }

    /// Waits until the replica has all that the master has.
    async fn replicate(&self) {
        let count = |server: &RedisServer| server.tell::<u64>(&["DBSIZE"]);
        poll("the replica's copy", || count(&self.master) == count(&self.replica)).await;
    }

    /// Waits until the sentinels name the replica, all of them.
    async fn names_the_replica(&self) -> Instant {
        let ask = |(sentinel, _): &(RedisServer, u16)| {
            sentinel.tell::<[String; 2]>(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "nonces"])[1] == self.port.to_string()
        };
        poll("another master", || self.sentinels.iter().all(ask)).await;
        Instant::now()
    }
}

async fn poll(what: &str, mut is_there: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_there() {
        assert!(start.elapsed() < PATIENCE, "{what} does not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Claims until one is answered, each in time.
async fn gets_well(store: &Store) -> Instant {
    let start = Instant::now();
    for n in 0.. {
        let asked = Instant::now();
        let answer = claim(store, &format!("well-again-{n}")).await;
        assert!(asked.elapsed() < IN_TIME, "{:?}: {answer:?}", asked.elapsed());
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

async fn all(store: &Store, name: &str) -> Vec<NonceStatus> {
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
    assert_eq!(all(&store, "told").await, [NonceStatus::New; 50]);
    assert_eq!(group.master.tell::<u64>(&["DBSIZE"]), 50, "the master takes them");
    group.replicate().await;

    // It cannot come back for more until the master is gone.
    group.replica.freeze();
    group.master.tell::<()>(&["CLIENT", "KILL", "TYPE", "replica"]);
    assert_eq!(all(&store, "untold").await, [NonceStatus::New; 50]);
    assert_eq!(all(&store, "untold").await, [NonceStatus::Replayed; 50]);
    group.master.kill();
    group.replica.thaw();

    let killed = Instant::now();
    let (named, well) = tokio::join!(group.names_the_replica(), gets_well(&store));
    println!("named after {:?}, well after {:?}", named - killed, well - killed);
    // The store takes 2 s at most from there, and a busy machine one more.
    assert!(well.saturating_duration_since(named) < Duration::from_secs(3), "{:?}", well - named);
    assert_eq!(all(&store, "told").await, [NonceStatus::Replayed; 50]);
    assert_eq!(all(&store, "untold").await, [NonceStatus::New; 50], "what docs/redis.md warns of");
    assert_eq!(all(&store, "untold").await, [NonceStatus::Replayed; 50]);
}

/// Writes as fast as it can until the master is killed, the replica as close behind as it comes by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_failover_under_load_forgets_the_last_claims_only() {
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
    gets_well(&store).await;
    let mut forgotten = Vec::new();
    for n in 0..made {
        match claim(&store, &format!("load-{n}")).await.unwrap() {
            NonceStatus::Replayed => assert!(forgotten.is_empty(), "{n} is known, and {forgotten:?} are not"),
            _ => forgotten.push(n),
        }
    }
    println!("{} of {made} forgotten", forgotten.len());
    assert!(made > 100 && forgotten.len() < made / 2, "{} of {made} forgotten", forgotten.len());
}

#[tokio::test]
async fn master_requiring_replicas_rejects_claims_without_them() {
    let group = Group::start().await;
    let store = group.store();
    group.master.tell::<()>(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    assert_eq!(claim(&store, "nonce-1").await.unwrap(), NonceStatus::New);
    group.replica.freeze();
    group.master.tell::<()>(&["CLIENT", "KILL", "TYPE", "replica"]);
    let error = claim(&store, "nonce-2").await.unwrap_err();
    assert!(format!("{error:?}").contains("NOREPLICAS"), "{error:?}");
    group.replica.thaw();
    gets_well(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_to_the_master_killed_while_idle_refuses_nobody() {
    let group = Group::start().await;
    let store = group.store();
    for name in ["before", "between", "afterwards"] {
        assert_eq!(all(&store, name).await, [NonceStatus::New; 50]);
        group.master.tell::<()>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_hangs_is_left_for_the_new_one() {
    let group = Group::start().await;
    let store = group.store();
    assert_eq!(all(&store, "told").await, [NonceStatus::New; 50]);
    group.replicate().await;
    group.master.freeze();
    gets_well(&store).await;
    group.master.thaw();
    assert_eq!(all(&store, "told").await, [NonceStatus::Replayed; 50]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_that_hangs_is_passed_over() {
    let mut group = Group::start().await;
    let store = group.store();
    assert_eq!(all(&store, "told").await, [NonceStatus::New; 50]);
    group.replicate().await;
    // The first that the client asks.
    group.sentinels[0].0.freeze();
    group.master.kill();
    gets_well(&store).await;
    assert_eq!(all(&store, "told").await, [NonceStatus::Replayed; 50]);
    group.sentinels[0].0.thaw();
}
