//! Nonces in Redis: against servers that these tests start, stop and break.

mod check;
mod cluster;
mod connection;
mod idle;
mod outages;
mod processes;
mod sentinel;
pub(crate) mod server;
mod shared;
mod tls;

use countersign::{
    AppId, Nonce, RejectionKind, Verifier,
    store::{Lifetime, NonceStore, Occurrence, RedisNonceStore, StoreError, redis::Connect},
};

use self::server::RedisServer;
use crate::rig::{self, NOW};

fn store(server: &RedisServer) -> RedisNonceStore {
    RedisNonceStore::new(server.client())
}

async fn claim<C: Connect>(store: &RedisNonceStore<C>, nonce: &str) -> Result<Occurrence, StoreError> {
    let (app, nonce): (AppId, Nonce) = ("demo".parse().unwrap(), nonce.parse().unwrap());
    store.claim(&app, &nonce, Lifetime::new(NOW, NOW + 601)).await
}
