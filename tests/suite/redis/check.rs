//! `check`: the properties of a Redis server that are tested before a service starts.

use countersign::{danger::check_allowing_eviction, store::redis::CheckError};

use super::*;

#[tokio::test]
async fn redis_without_eviction_passes_the_check() {
    let in_memory = RedisServer::start();
    let report = store(&in_memory).check().await.unwrap();
    assert_eq!(
        (report.servers, report.has_append_only_file),
        (1, false),
        "the report says that a restart loses nonces"
    );
    let persistent = RedisServer::start_with(&["--appendonly", "yes"]);
    assert!(store(&persistent).check().await.unwrap().has_append_only_file);
    assert_eq!(persistent.command::<i64>(&["DBSIZE"]), 0, "the check writes no key");
}

#[tokio::test]
async fn evicting_redis_fails_the_check_unless_allowed() {
    for policy in ["allkeys-lru", "volatile-ttl", "volatile-lru", "allkeys-random"] {
        let server = RedisServer::start_with(&["--maxmemory-policy", policy]);
        let error = store(&server).check().await.unwrap_err();
        assert!(matches!(&error, CheckError::Evicts(found) if found == policy), "{error}");
        assert!(error.to_string().contains("noeviction"), "{error}");
        assert_eq!(check_allowing_eviction(&store(&server)).await.unwrap().servers, 1);
    }
}

#[tokio::test]
async fn replica_fails_the_check() {
    let server = RedisServer::start();
    server.command::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
    let error = store(&server).check().await.unwrap_err();
    assert!(matches!(error, CheckError::Replica), "{error}");
}

#[tokio::test]
async fn unreachable_redis_fails_the_check() {
    let mut server = RedisServer::start();
    let frozen = store(&server);
    frozen.check().await.unwrap();
    server.freeze();
    assert!(matches!(frozen.check().await.unwrap_err(), CheckError::Timeout));
    server.kill();
    assert!(matches!(store(&server).check().await.unwrap_err(), CheckError::Unanswered(_)));
}

#[test]
fn redis_version_is_compared_numerically() {
    let server = outages::fake_server("redis_version:6.0.16\r\nrole:master\r\nmaxmemory_policy:noeviction\r\n");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let error = runtime.block_on(RedisNonceStore::new(server).check()).unwrap_err();
    assert!(matches!(&error, CheckError::TooOld(version) if version == "6.0.16"), "{error}");
    for version in ["6.2.0", "7.2.4", "10.0.1"] {
        let info =
            format!("redis_version:{version}\r\nrole:master\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\n");
        let server = outages::fake_server(&info);
        assert!(runtime.block_on(RedisNonceStore::new(server).check()).is_ok(), "{version}");
    }
}
