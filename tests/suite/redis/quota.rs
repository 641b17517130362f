//! The quota of live nonces of an app in Redis.

use super::*;

async fn code(store: &RedisNonceStore, app: &str, nonce: &str, now: u64) -> String {
    match claim_of(store, app, nonce, now).await {
        Ok(status) => format!("{status:?}"),
        Err(error) => std::error::Error::source(&error).unwrap().to_string(),
    }
}

const FULL: &str = "the app has reached its quota of 3 live nonces in this process";

#[tokio::test]
async fn app_beyond_its_quota_is_rejected() {
    let server = RedisServer::start();
    let store = store(&server).with_app_quota(3);
    for nonce in ["nonce-1", "nonce-2", "nonce-3"] {
        assert_eq!(code(&store, "demo", nonce, NOW).await, "New");
        assert_eq!(code(&store, "demo", nonce, NOW).await, if nonce == "nonce-3" { FULL } else { "Replayed" });
    }
    assert_eq!(code(&store.clone(), "demo", "nonce-4", NOW + 600).await, FULL, "clones share the count");
    assert_eq!(code(&store, "other", "nonce-1", NOW).await, "New", "each app has its own quota");
    assert_eq!(server.command::<i64>(&["DBSIZE"]), 4);
    for nonce in ["nonce-5", "nonce-6", "nonce-7"] {
        assert_eq!(code(&store, "demo", nonce, NOW + 601).await, "New", "the first nonces have expired");
    }
    assert_eq!(code(&store, "demo", "nonce-8", NOW + 601).await, FULL);
}

#[tokio::test]
async fn failed_claims_do_not_count() {
    let server = RedisServer::start();
    let store = store(&server).with_app_quota(3);
    assert_eq!(code(&store, "demo", "nonce-1", NOW).await, "New");
    for _ in 0..10 {
        assert_eq!(code(&store, "demo", "nonce-1", NOW).await, "Replayed");
    }
    server.command::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    for n in 0..10 {
        assert_eq!(
            code(&store, "demo", &format!("rejected-{n}"), NOW).await,
            "Redis rejected the command, or the connection broke"
        );
    }
    server.command::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    let away = RedisNonceStore::new(redis::Client::open("redis://127.0.0.1:1/").unwrap()).with_app_quota(3);
    for n in 0..10 {
        assert_eq!(code(&away, "demo", &format!("away-{n}"), NOW).await, "not connected to Redis");
    }
    assert_eq!(code(&store, "demo", "nonce-2", NOW).await, "New");
    assert_eq!(code(&store, "demo", "nonce-3", NOW).await, "New");
    assert_eq!(code(&store, "demo", "nonce-4", NOW).await, FULL);
}

#[tokio::test]
async fn request_beyond_the_quota_returns_503() {
    let server = RedisServer::start();
    let (verifier, _) = rig::verifier_on(store(&server).with_app_quota(1));
    assert_eq!(rig::code(&verifier, rig::signed(rig::get("/"))).await, "accepted");
    assert_eq!(rig::code(&verifier, rig::signed(rig::get("/"))).await, "unavailable");
}
