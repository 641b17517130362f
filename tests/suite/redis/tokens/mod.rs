//! The token store in Redis.

mod contract;
mod layout;
mod outages;
mod races;
mod same;

use countersign::{
    store::{RecordKind, RedisTokenStore, TokenStore, redis::Connect},
    token::{Issued, NewToken, Owner, OwnerKey, TokenRef, Tokens},
};

use super::*;

fn owner_key() -> OwnerKey {
    OwnerKey::new(*b"a secret of the service").unwrap()
}

fn token_store(server: &RedisServer) -> RedisTokenStore {
    RedisTokenStore::new(server.client(), owner_key())
}

fn demo() -> AppId {
    "demo".parse().unwrap()
}

fn user(id: &str) -> NewToken {
    NewToken::for_user(id.parse().unwrap())
}

fn owner(id: &str) -> Owner {
    Owner::User(id.parse().unwrap())
}

fn reference(issued: &Issued) -> TokenRef {
    TokenRef::of(issued.token()).unwrap()
}

/// Whether the token is live for the app `demo`.
async fn is_live(tokens: &Tokens, issued: &Issued) -> bool {
    tokens.check(&demo(), issued.token()).await.unwrap().is_some()
}
