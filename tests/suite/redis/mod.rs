//! The Redis nonce store. The tests start, stop and break real servers.

mod check;
mod cluster;
mod connection;
mod idle;
mod outages;
mod processes;
mod quota;
mod sentinel;
pub(crate) mod server;
mod shared;
mod submissions;
mod tls;
mod tokens;

use countersign::{
    AppId, Nonce, RejectionKind, Verifier,
    store::{NonceClaim, NonceStatus, NonceStore, RedisNonceStore, Retention, StoreError, redis::Connect},
};

use self::server::RedisServer;
use crate::rig::{self, NOW};

fn store(server: &RedisServer) -> RedisNonceStore {
    RedisNonceStore::new(server.client())
}

async fn claim<C: Connect>(store: &RedisNonceStore<C>, nonce: &str) -> Result<NonceStatus, StoreError> {
    claim_of(store, "demo", nonce, NOW).await
}

async fn claim_of<C: Connect>(
    store: &RedisNonceStore<C>,
    app: &str,
    nonce: &str,
    now: u64,
) -> Result<NonceStatus, StoreError> {
    let (app, nonce): (AppId, Nonce) = (app.parse().unwrap(), nonce.parse().unwrap());
    store.claim(&NonceClaim::new(&app, &nonce), Retention::new(now, now + 601)).await
}
