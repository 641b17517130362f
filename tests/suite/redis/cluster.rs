//! A cluster: claims are spread over its nodes, and whatever happens to one of them happens to its claims only.

use std::time::{Duration, Instant};

use countersign::store::conformance;
use redis::cluster::{ClusterClient, ClusterClientBuilder};

use super::*;

/// What claims may take at most: the deadline, and a little for a busy machine.
const IN_TIME: Duration = Duration::from_millis(250 + 250);

/// What the cluster may take to agree with itself, and the store to follow.
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

/// Three masters without replicas: slots of a dead one are nobody's.
struct Cluster {
    nodes: Vec<RedisServer>,
    ports: Vec<u16>,
}

impl Cluster {
    async fn start() -> Self {
        let (nodes, ports): (Vec<_>, Vec<_>) = (0..3).map(|_| RedisServer::start_on_port("", &OPTIONS)).unzip();
        let cluster = Self { nodes, ports };
        for (node, slots) in cluster.nodes.iter().zip([["0", "5460"], ["5461", "10922"], ["10923", "16383"]]) {
            node.tell::<()>(&["CLUSTER", "ADDSLOTSRANGE", slots[0], slots[1]]);
            node.tell::<()>(&["CLUSTER", "MEET", "127.0.0.1", &cluster.ports[0].to_string()]);
        }
        until("the nodes find each other", || cluster.agrees()).await;
        cluster
    }

    /// Whether each node knows all others, and who serves each slot.
    fn agrees(&self) -> bool {
        let known = format!("cluster_known_nodes:{}", self.nodes.len());
        self.nodes.iter().all(|node| {
            let info = node.tell::<String>(&["CLUSTER", "INFO"]);
            ["cluster_state:ok", "cluster_slots_ok:16384", &known].iter().all(|line| info.contains(line))
        })
    }

    /// A node that has a copy of node 1, and would take its place.
    async fn add_replica(&mut self) {
        let replica = RedisServer::start_on_port("", &OPTIONS).0;
        replica.tell::<()>(&["CLUSTER", "MEET", "127.0.0.1", &self.ports[1].to_string()]);
        let id: String = self.nodes[1].tell(&["CLUSTER", "MYID"]);
        let replicate = redis::cmd("CLUSTER").arg("REPLICATE").arg(&id).to_owned();
        until("the replica knows its master", || {
            replicate.exec(&mut replica.client().get_connection().unwrap()).is_ok()
        })
        .await;
        // Its master calls it online earlier; without a copy it would not stand for election.
        until("the replica has its copy", || replica.has_its_copy()).await;
        self.nodes.push(replica);
        let knows = |node: &RedisServer| node.tell::<String>(&["CLUSTER", "NODES"]).contains("slave");
        until("all who vote know of it", || self.agrees() && self.nodes.iter().all(knows)).await;
    }

    fn urls(&self) -> Vec<String> {
        self.ports.iter().map(|port| format!("redis://127.0.0.1:{port}")).collect()
    }

    fn client(&self) -> ClusterClient {
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

    /// Which node has the nonce's slot.
    fn home(&self, nonce: &str) -> usize {
        let slot: usize = self.nodes[0].tell(&["CLUSTER", "KEYSLOT", &format!("cs1:demo/{nonce}")]);
        [5461, 10923, 16384].iter().position(|end| slot < *end).unwrap()
    }

    /// How many connections node 2 has taken, this one included.
    fn connections(&self) -> u64 {
        let info: String = self.nodes[2].tell(&["INFO", "stats"]);
        let line = info.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        line.unwrap().parse().unwrap()
    }
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "not yet: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Claims in time, or fails in time.
async fn in_time(store: &RedisNonceStore<ClusterClient>, nonce: &str) -> Result<NonceStatus, String> {
    let start = Instant::now();
    let answer = claim(store, nonce).await;
    assert!(start.elapsed() < IN_TIME, "{:?}: {answer:?}", start.elapsed());
    answer.map_err(|error| format!("{error:?}"))
}

/// Asserts that claims that fail on node 1 make no connection to another node anew: others' claims wait on those.
async fn leaves_others_alone(cluster: &Cluster, store: &RedisNonceStore<ClusterClient>, name: &str) {
    let of = |home| (0..).map(|n| format!("{name}-{n}")).filter(move |nonce| cluster.home(nonce) == home);
    in_time(store, &format!("{name}-first")).await.ok();
    let before = cluster.connections();
    for (failing, served) in of(1).zip(of(2)).take(15) {
        in_time(store, &failing).await.expect_err("node 1 cannot know");
        assert_eq!(in_time(store, &served).await, Ok(NonceStatus::New));
    }
    let made = cluster.connections() - before;
    assert!(made <= 5, "{made}: this one, and one or two of a new connection every three seconds");
}

/// Waits until a round of fresh claims has what it must: an answer exactly where `is_served` says so of the node.
async fn settles(
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
            let answer = in_time(store, &nonce).await;
            let home = cluster.home(&nonce);
            match &answer {
                // A claim whose answer was lost is sent again, and finds itself: 401, and never a yes too many.
                Ok(NonceStatus::Replayed) => wrong.push((home, answer)),
                Ok(status) => {
                    assert_eq!(*status, NonceStatus::New);
                    assert!(is_served(home), "the node is dead");
                }
                Err(_) if is_served(home) => wrong.push((home, answer)),
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
    let sizes: Vec<u64> = cluster.nodes.iter().map(|node| node.tell(&["DBSIZE"])).collect();
    assert_eq!(sizes.iter().sum::<u64>(), 300);
    assert!(sizes.iter().all(|size| (50..150).contains(size)), "{sizes:?}");
    assert_eq!(store.check().await.unwrap().servers, 3);
    conformance::nonce_store(|| {
        for node in &cluster.nodes {
            node.tell::<()>(&["FLUSHALL"]);
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
        assert_eq!(in_time(&store, &format!("before-{n}")).await, Ok(NonceStatus::New));
    }
    cluster.nodes[1].kill();
    let without = settles(&cluster, &store, "without", |node| node != 1).await;
    leaves_others_alone(&cluster, &store, "alone").await;
    for n in 0..CLAIMS {
        let nonce = format!("before-{n}");
        if cluster.home(&nonce) != 1 {
            assert_eq!(in_time(&store, &nonce).await, Ok(NonceStatus::Replayed));
        }
    }
    cluster.nodes[1].restart();
    let with = settles(&cluster, &store, "with", |_| true).await;
    println!("without it after {without:?}, with it again after {with:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hung_node_fails_only_its_own_claims() {
    let cluster = Cluster::start().await;
    let store = cluster.store();
    settles(&cluster, &store, "before", |_| true).await;
    cluster.nodes[1].freeze();
    let without = settles(&cluster, &store, "without", |node| node != 1).await;
    leaves_others_alone(&cluster, &store, "alone").await;
    cluster.nodes[1].thaw();
    let with = settles(&cluster, &store, "with", |_| true).await;
    println!("without it after {without:?}, with it again after {with:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_replica_of_a_node_that_hangs_gets_its_claims() {
    let mut cluster = Cluster::start().await;
    cluster.add_replica().await;
    let store = cluster.store();
    settles(&cluster, &store, "before", |_| true).await;
    // It waits for the node that hangs for two seconds whenever it connects.
    let patient = RedisNonceStore::new(ClusterClient::new(cluster.urls()).unwrap());
    settles(&cluster, &patient, "patiently", |_| true).await;
    cluster.nodes[1].freeze();
    let took = settles(&cluster, &store, "after", |_| true).await;
    let patiently = settles(&cluster, &patient, "patiently-after", |_| true).await;
    println!("its replica has taken over after {took:?}, and with a client as it comes {patiently:?} later");
}
