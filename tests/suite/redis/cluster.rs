//! A cluster spreads claims over its nodes. A failure of one node affects only the claims of that node.

use std::time::{Duration, Instant};

use countersign::store::conformance;
use redis::cluster::{ClusterClient, ClusterClientBuilder};

use super::*;

/// The longest time for a claim: the deadline, and a margin for a busy machine.
const IN_TIME: Duration = Duration::from_millis(250 + 250);

/// The longest time until the cluster is consistent and the store follows.
const PATIENCE: Duration = Duration::from_secs(15);

const CLAIMS: usize = 60;

const OPTIONS: [&str; 10] = [
    "--cluster-enabled",
    "yes",
    "--cluster-node-timeout",
    "1000",
    "--cluster-require-full-coverage",
    "no",
    "--cluster-announce-ip",
    "127.0.0.1",
    "--repl-diskless-sync-delay",
    "0",
];

/// Three masters without replicas. No node serves the slots of a dead one.
pub(super) struct Cluster {
    pub(super) nodes: Vec<RedisServer>,
    ports: Vec<u16>,
}

impl Cluster {
    pub(super) async fn start() -> Self {
        let (nodes, ports): (Vec<_>, Vec<_>) = (0..3).map(|_| RedisServer::start_on_port("", &OPTIONS)).unzip();
        let cluster = Self { nodes, ports };
        for (node, slots) in cluster.nodes.iter().zip([["0", "5460"], ["5461", "10922"], ["10923", "16383"]]) {
            node.command::<()>(&["CLUSTER", "ADDSLOTSRANGE", slots[0], slots[1]]);
            node.command::<()>(&["CLUSTER", "MEET", "127.0.0.1", &cluster.ports[0].to_string()]);
        }
        wait_until("the nodes find each other", || cluster.is_consistent()).await;
        cluster
    }

    /// Whether each node knows all other nodes, and all slots are served.
    fn is_consistent(&self) -> bool {
        let known = format!("cluster_known_nodes:{}", self.nodes.len());
        self.nodes.iter().all(|node| {
            let info = node.command::<String>(&["CLUSTER", "INFO"]);
            ["cluster_state:ok", "cluster_slots_ok:16384", &known].iter().all(|line| info.contains(line))
        })
    }

    /// Adds a replica of node 1 that can take over.
    async fn add_replica(&mut self) {
        let replica = RedisServer::start_on_port("", &OPTIONS).0;
        replica.command::<()>(&["CLUSTER", "MEET", "127.0.0.1", &self.ports[1].to_string()]);
        let id: String = self.nodes[1].command(&["CLUSTER", "MYID"]);
        let replicate = redis::cmd("CLUSTER").arg("REPLICATE").arg(&id).to_owned();
        wait_until("the replica knows its master", || {
            replicate.exec(&mut replica.client().get_connection().unwrap()).is_ok()
        })
        .await;
        // The master reports the replica as online earlier, but a replica without a copy is not elected.
        wait_until("the replica has its copy", || replica.is_synced()).await;
        self.nodes.push(replica);
        let knows = |node: &RedisServer| node.command::<String>(&["CLUSTER", "NODES"]).contains("slave");
        wait_until("all voting nodes know the replica", || self.is_consistent() && self.nodes.iter().all(knows)).await;
    }

    fn urls(&self) -> Vec<String> {
        self.ports.iter().map(|port| format!("redis://127.0.0.1:{port}")).collect()
    }

    pub(super) fn client(&self) -> ClusterClient {
        let client = ClusterClientBuilder::new(self.urls())
            .retries(1)
            .min_retry_wait(10)
            .max_retry_wait(50)
            .connection_timeout(Duration::from_millis(100))
            .response_timeout(Duration::from_millis(200));
        client.build().unwrap()
    }

    fn store(&self) -> RedisNonceStore<ClusterClient> {
        RedisNonceStore::new(self.client())
    }

    /// The node that serves the slot of this nonce.
    fn node_of(&self, nonce: &str) -> usize {
        let slot: usize = self.nodes[0].command(&["CLUSTER", "KEYSLOT", &format!("cs1:demo/{nonce}")]);
        [5461, 10923, 16384].iter().position(|end| slot < *end).unwrap()
    }

    /// The number of connections that node 2 has accepted, including this one.
    fn connections(&self) -> u64 {
        let info: String = self.nodes[2].command(&["INFO", "stats"]);
        let line = info.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        line.unwrap().parse().unwrap()
    }
}

async fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "timeout while waiting until {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Claims the nonce, and asserts that the claim or its failure is in time.
async fn claim_in_time(store: &RedisNonceStore<ClusterClient>, nonce: &str) -> Result<NonceStatus, String> {
    let start = Instant::now();
    let answer = claim(store, nonce).await;
    assert!(start.elapsed() < IN_TIME, "{:?}: {answer:?}", start.elapsed());
    answer.map_err(|error| format!("{error:?}"))
}

/// Asserts that failed claims on node 1 open almost no new connections to another node, since other claims would wait
/// for them.
async fn assert_other_nodes_unaffected(cluster: &Cluster, store: &RedisNonceStore<ClusterClient>, name: &str) {
    let of = |node| (0..).map(|n| format!("{name}-{n}")).filter(move |nonce| cluster.node_of(nonce) == node);
    claim_in_time(store, &format!("{name}-first")).await.ok();
    let before = cluster.connections();
    for (failing, served) in of(1).zip(of(2)).take(15) {
        claim_in_time(store, &failing).await.expect_err("node 1 is unavailable");
        assert_eq!(claim_in_time(store, &served).await, Ok(NonceStatus::New));
    }
    let made = cluster.connections() - before;
    assert!(made <= 5, "{made} connections: expected this one, and one or two every three seconds");
}

/// Repeats rounds of fresh claims until claims succeed exactly on the nodes for which `is_served` is true.
async fn wait_for_claims(
    cluster: &Cluster,
    store: &RedisNonceStore<ClusterClient>,
    name: &str,
    is_served: impl Fn(usize) -> bool,
) -> Duration {
    let start = Instant::now();
    for round in 0.. {
        let mut wrong = Vec::new();
        for n in 0..CLAIMS {
            let nonce = format!("{name}-{round}-{n}");
            let answer = claim_in_time(store, &nonce).await;
            let node = cluster.node_of(&nonce);
            match &answer {
                // A claim whose answer was lost is sent again and is reported as replayed. It is never accepted twice.
                Ok(NonceStatus::Replayed) => wrong.push((node, answer)),
                Ok(status) => {
                    assert_eq!(*status, NonceStatus::New);
                    assert!(is_served(node), "a claim on a dead node succeeded");
                }
                Err(_) if is_served(node) => wrong.push((node, answer)),
                Err(_) => (),
            }
        }
        if wrong.is_empty() {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{:?}: {wrong:?}", start.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_spreads_claims_and_conforms() {
    let cluster = Cluster::start().await;
    let (store, other) = (cluster.store(), cluster.store());
    for n in 0..300 {
        assert_eq!(claim(&store, &format!("nonce-{n}")).await.unwrap(), NonceStatus::New);
    }
    for n in 0..300 {
        assert_eq!(claim(&other, &format!("nonce-{n}")).await.unwrap(), NonceStatus::Replayed);
    }
    let sizes: Vec<u64> = cluster.nodes.iter().map(|node| node.command(&["DBSIZE"])).collect();
    assert_eq!(sizes.iter().sum::<u64>(), 300);
    assert!(sizes.iter().all(|size| (50..150).contains(size)), "{sizes:?}");
    assert_eq!(store.check().await.unwrap().servers, 3);
    conformance::nonce_store(|| {
        for node in &cluster.nodes {
            node.command::<()>(&["FLUSHALL"]);
        }
        cluster.store()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_node_fails_only_its_own_claims() {
    let mut cluster = Cluster::start().await;
    let store = cluster.store();
    for n in 0..CLAIMS {
        assert_eq!(claim_in_time(&store, &format!("before-{n}")).await, Ok(NonceStatus::New));
    }
    cluster.nodes[1].kill();
    let without = wait_for_claims(&cluster, &store, "without", |node| node != 1).await;
    assert_other_nodes_unaffected(&cluster, &store, "alone").await;
    for n in 0..CLAIMS {
        let nonce = format!("before-{n}");
        if cluster.node_of(&nonce) != 1 {
            assert_eq!(claim_in_time(&store, &nonce).await, Ok(NonceStatus::Replayed));
        }
    }
    cluster.nodes[1].restart();
    let with = wait_for_claims(&cluster, &store, "with", |_| true).await;
    println!("node 1 failed alone after {without:?}, and was back after {with:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hung_node_fails_only_its_own_claims() {
    let cluster = Cluster::start().await;
    let store = cluster.store();
    wait_for_claims(&cluster, &store, "before", |_| true).await;
    cluster.nodes[1].freeze();
    let without = wait_for_claims(&cluster, &store, "without", |node| node != 1).await;
    assert_other_nodes_unaffected(&cluster, &store, "alone").await;
    cluster.nodes[1].thaw();
    let with = wait_for_claims(&cluster, &store, "with", |_| true).await;
    println!("node 1 failed alone after {without:?}, and was back after {with:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn replica_takes_over_from_a_hung_node() {
    let mut cluster = Cluster::start().await;
    cluster.add_replica().await;
    let store = cluster.store();
    wait_for_claims(&cluster, &store, "before", |_| true).await;
    // This client waits two seconds for the hung node whenever it connects.
    let default_store = RedisNonceStore::new(ClusterClient::new(cluster.urls()).unwrap());
    wait_for_claims(&cluster, &default_store, "patiently", |_| true).await;
    cluster.nodes[1].freeze();
    let took = wait_for_claims(&cluster, &store, "after", |_| true).await;
    let default_took = wait_for_claims(&cluster, &default_store, "patiently-after", |_| true).await;
    println!("the replica took over after {took:?}, with the default client {default_took:?} later");
}
