//! The contract of submission stores holds on one server, on a cluster and behind Sentinel.

use countersign::store::conformance;

use super::{
    super::{cluster::Cluster, sentinel::Group},
    *,
};

/// The permissions that docs/redis.md lists.
const PERMISSIONS: [&str; 10] =
    ["~cs1:o:*", "+get", "+set", "+del", "+pttl", "+pexpire", "+evalsha", "+eval", "+ping", "+info"];

/// Longer than most pauses of the machine. Redis has no clock that a test can set.
const UNIT: Duration = Duration::from_millis(600);

/// A slow machine must not end the calls of a race.
fn patient<C: Connect>(store: RedisSubmissionStore<C>) -> (RedisSubmissionStore<C>, impl AsyncFn(Duration)) {
    (store.with_deadline(Duration::from_secs(5)), async |time| tokio::time::sleep(time).await)
}

/// Each store has a prefix of its own, because the tests of the suite run at the same time.
fn empty<C: Connect>(store: RedisSubmissionStore<C>) -> RedisSubmissionStore<C> {
    store.with_key_prefix(&format!("{}:cs1:", rig::fresh_nonce().as_str()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn store_conforms_with_the_listed_permissions() {
    let server = RedisServer::start();
    let setting = [&["ACL", "SETUSER", "submissions", "on", ">sesame", "~*:cs1:o:*"], &PERMISSIONS[..]].concat();
    server.command::<()>(&setting);
    let client = redis::Client::open(format!("{}?user=submissions&pass=sesame", server.url())).unwrap();
    conformance::submission_store(|| patient(empty(RedisSubmissionStore::new(client.clone()))), UNIT).await;
    let store = RedisSubmissionStore::new(client);
    assert_eq!(reserve(&store, &place(1), &lease(1), WhenLost::Unknown).await.unwrap(), Reserved::Yes);
    assert_eq!(store.check().await.unwrap().servers, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn store_conforms_on_a_cluster() {
    let cluster = Cluster::start().await;
    conformance::submission_store(|| patient(empty(RedisSubmissionStore::new(cluster.client()))), UNIT).await;
    let store = RedisSubmissionStore::new(cluster.client());
    cluster.nodes.iter().for_each(|node| node.command::<()>(&["FLUSHALL"]));
    for n in 0..60 {
        reserve(&store, &place(n), &lease(1), WhenLost::Unknown).await.unwrap();
    }
    let sizes: Vec<u64> = cluster.nodes.iter().map(|node| node.command(&["DBSIZE"])).collect();
    assert!(sizes.iter().all(|size| *size > 5), "places are spread over the nodes: {sizes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn store_conforms_behind_sentinel() {
    let group = Group::start().await;
    conformance::submission_store(|| patient(empty(RedisSubmissionStore::from_sentinel(group.client()))), UNIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_master_gets_the_scripts_and_has_the_submissions() {
    let mut group = Group::start().await;
    let store = RedisSubmissionStore::from_sentinel(group.client());
    let at = place(1);
    reserve(&store, &at, &lease(1), WhenLost::Unknown).await.unwrap();
    while group.replica.command::<u64>(&["DBSIZE"]) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    group.master.kill();
    group.wait_for_promotion().await;
    let start = std::time::Instant::now();
    while store.renew(&at, &lease(1)).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(5), "the store did not follow");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(matches!(reserve(&store, &at, &lease(2), WhenLost::TakeOver).await.unwrap(), Reserved::No(_)));
    assert!(store.finish(&at, &lease(1), &Finish::Done(answer())).await.unwrap());
}
