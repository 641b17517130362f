//! The token store in Redis: the contract, on one server, on a cluster and behind Sentinel, and the layout.

mod same;

use countersign::{
    store::{RedisTokenStore, TokenStore, conformance},
    token::{OwnerKey, TokenRef},
};

use super::*;

fn owner_key() -> OwnerKey {
    OwnerKey::new(*b"a secret of the service").unwrap()
}

fn tokens(server: &RedisServer) -> RedisTokenStore {
    RedisTokenStore::new(server.client(), owner_key())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redis_token_store_conforms() {
    let server = RedisServer::start();
    conformance::token_store(|| {
        server.command::<()>(&["FLUSHALL"]);
        tokens(&server)
    })
    .await;
}
