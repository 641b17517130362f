//! The contract of token stores holds on one server, on a cluster and behind Sentinel.

use countersign::store::conformance;

use super::{
    super::{cluster::Cluster, sentinel::Group},
    *,
};

/// The permissions that docs/redis.md lists.
const PERMISSIONS: [&str; 17] = [
    "~cs1:s:*",
    "~cs1:g:*",
    "+hget",
    "+hgetall",
    "+hset",
    "+hdel",
    "+hlen",
    "+hexists",
    "+hincrby",
    "+hrandfield",
    "+del",
    "+pttl",
    "+pexpire",
    "+evalsha",
    "+eval",
    "+ping",
    "+info",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn store_conforms_with_the_listed_permissions() {
    let server = RedisServer::start();
    server.command::<()>(&[&["ACL", "SETUSER", "tokens", "on", ">sesame"], &PERMISSIONS[..]].concat());
    let client = redis::Client::open(format!("{}?user=tokens&pass=sesame", server.url())).unwrap();
    conformance::token_store(|| {
        server.command::<()>(&["FLUSHALL"]);
        RedisTokenStore::new(client.clone(), owner_key())
    })
    .await;
    assert_eq!(RedisTokenStore::new(client, owner_key()).check().await.unwrap().servers, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn store_conforms_on_a_cluster() {
    let cluster = Cluster::start().await;
    conformance::token_store(|| {
        cluster.nodes.iter().for_each(|node| node.command::<()>(&["FLUSHALL"]));
        RedisTokenStore::new(cluster.client(), owner_key())
    })
    .await;
    let tokens = Tokens::new(RedisTokenStore::new(cluster.client(), owner_key()));
    for n in 0..60 {
        tokens.issue_for(&demo(), user(&format!("u-{n}"))).await.unwrap();
    }
    let sizes: Vec<u64> = cluster.nodes.iter().map(|node| node.command(&["DBSIZE"])).collect();
    assert!(sizes.iter().all(|size| *size > 5), "owners are spread over the nodes: {sizes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn store_conforms_behind_sentinel() {
    let group = Group::start().await;
    conformance::token_store(|| {
        group.master.command::<()>(&["FLUSHALL"]);
        RedisTokenStore::from_sentinel(group.client(), owner_key())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_master_gets_the_scripts_and_has_the_sessions() {
    let mut group = Group::start().await;
    let tokens = Tokens::new(RedisTokenStore::from_sentinel(group.client(), owner_key()));
    let issued = tokens.issue_for(&demo(), user("u-1")).await.unwrap();
    while group.replica.command::<u64>(&["DBSIZE"]) == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    group.master.kill();
    group.wait_for_promotion().await;
    let start = std::time::Instant::now();
    while tokens.renew_for(&demo(), issued.token()).await.is_err() {
        assert!(start.elapsed() < std::time::Duration::from_secs(5), "the store did not follow");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(tokens.end_all(&owner("u-1")).await.unwrap(), 1);
    assert!(!is_live(&tokens, &issued).await);
}
