//! The token store in Redis: its configuration, and the way of its commands.

use std::{fmt, sync::Arc, time::Duration};

use base64ct::{Base64UrlUnpadded, Encoding};
use redis::{Cmd, Value, sentinel::SentinelClient};

use super::super::{
    batcher::Batcher,
    check::{CheckError, RedisReport},
    connect::{Connect, SentinelMaster},
    connections::ConnectionManager,
    places::Payer,
    script::Script,
};
use crate::{
    protocol::token::{OwnerKey, OwnerTag, RecordKind},
    store::{RedisNonceStore, StoreError},
};

/// Stores tokens and grants in Redis, for services on several machines. A session that one machine ends is rejected by all of them
/// from the next request on.
///
/// Each owner has a key for its tokens and one for its grants, each of them a hash with all of them. To find a token is one `HGET`. All changes are scripts,
/// which Redis runs as a whole. The store keeps no token, only its SHA-256, and for a token that was renewed the seed of
/// its successor, until the overlap is over.
///
/// The commands are sent like those of a [`RedisNonceStore`], which can [share](Self::sharing) its connection. A command
/// fails if it has no answer within the deadline, or if too many other commands are waiting. The request gets a 503.
/// **Redis may have run the command nevertheless**: a token that is accepted once may be spent, and a new token may
/// be stored whose text was lost.
///
/// The store needs a tokio runtime with timers (`enable_all`), and Redis 6.2 or Valkey 7.2 and newer. Redis should not
/// evict keys: an evicted key logs its owner out. [`check`](Self::check) verifies the server. See the
/// [guide](https://docs.rs/countersign/latest/countersign/guide/redis/) for operation.
///
/// ```no_run
/// use countersign::{StaticKeys, Verifier, store::{RedisNonceStore, RedisTokenStore}, token::{OwnerKey, Tokens}};
///
/// # fn verifier(keys: StaticKeys) -> Result<Verifier<StaticKeys, RedisNonceStore>, Box<dyn std::error::Error>> {
/// // A secret of the service, the same one on every machine.
/// let owner_key = OwnerKey::new(std::env::var("OWNER_KEY")?)?;
/// let nonces = RedisNonceStore::new(redis::Client::open("redis://10.0.0.7/")?);
/// let tokens = Tokens::new(RedisTokenStore::sharing(&nonces, owner_key));
/// let verifier = Verifier::new(keys).with_nonces(nonces).with_tokens(tokens);
/// # Ok(verifier)
/// # }
/// ```
pub struct RedisTokenStore<C: Connect = redis::Client> {
    batcher: Arc<Batcher<C>>,
    pub(super) owner_key: OwnerKey,
    prefixes: Prefixes,
}

/// The starts of all keys, by the kind of their records.
#[derive(Clone)]
struct Prefixes {
    sessions: Arc<str>,
    grants: Arc<str>,
}

impl<C: Connect> RedisTokenStore<C> {
    /// Creates a store on one server (`redis::Client`) or a cluster (`redis::cluster::ClusterClient`). This sends nothing to
    /// Redis. [`RedisNonceStore::new`] says how to configure the client of a cluster.
    ///
    /// With another owner key, the store finds no session that it stored before.
    pub fn new(connector: C, owner_key: OwnerKey) -> Self {
        Self::sharing(&RedisNonceStore::new(connector), owner_key)
    }

    /// Creates a store with the connection, the batches, the deadline and the key prefix of a nonce store. Commands for
    /// nonces and for tokens then travel together.
    ///
    /// Each store keeps its own [number of commands in flight](Self::with_max_in_flight), so that a flood of tokens leaves
    /// places for nonces.
    #[must_use]
    pub fn sharing(nonces: &RedisNonceStore<C>, owner_key: OwnerKey) -> Self {
        let prefixes = Prefixes::new(nonces.prefix(), &owner_key);
        Self { batcher: nonces.batcher().clone(), owner_key, prefixes }
    }

    /// Sets the deadline of a call, including all waiting. Default: 250 ms.
    ///
    /// The commands then travel apart from those of a nonce store, over the same connection.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { batcher: Batcher::new(self.connections().clone(), deadline, self.batcher.max_in_flight()), ..self }
    }

    /// Sets how many commands may be in flight. Further ones fail at once. Default: 1,024.
    ///
    /// Owners share these places by the rule of [`MemoryNonceStore`](crate::store::MemoryNonceStore#fairness): an owner may
    /// take another place while it holds less than three times the free places. The commands then travel apart from those
    /// of a nonce store, over the same connection.
    #[must_use]
    pub fn with_max_in_flight(self, commands: usize) -> Self {
        Self { batcher: Batcher::new(self.connections().clone(), self.batcher.deadline, commands), ..self }
    }

    /// Sets the prefix of all keys, for a Redis that other programs use too. Default: `cs1:`.
    ///
    /// Services share tokens only if they use the same prefix. Do not use braces: a cluster stores all keys with the same
    /// text in braces on one node.
    #[must_use]
    pub fn with_key_prefix(self, prefix: &str) -> Self {
        Self { prefixes: Prefixes::new(prefix, &self.owner_key), ..self }
    }

    /// Checks that the Redis server does not evict tokens, like [`RedisNonceStore::check`].
    ///
    /// # Errors
    ///
    /// Fails if the server evicts keys when it is full, is a replica, is too old, is unreachable, or does not answer
    /// within 2 s.
    pub async fn check(&self) -> Result<RedisReport, CheckError> {
        self.connections().check().await
    }

    fn connections(&self) -> &Arc<ConnectionManager<C>> {
        &self.batcher.connections
    }

    /// The key of an owner's records of a kind: the prefix, and the tag in base64url.
    fn key(&self, kind: RecordKind, owner: &OwnerTag) -> Vec<u8> {
        let prefix = match kind {
            RecordKind::Session => &self.prefixes.sessions,
            RecordKind::Grant => &self.prefixes.grants,
        };
        let mut tag = [0; 22];
        // The buffer has the length that base64url needs.
        let tag = Base64UrlUnpadded::encode(owner.as_bytes(), &mut tag).unwrap_or_default();
        [prefix.as_bytes(), tag.as_bytes()].concat()
    }

    pub(super) async fn run(
        &self,
        script: &Script,
        kind: RecordKind,
        owner: &OwnerTag,
        arguments: &[&[u8]],
    ) -> Result<Value, StoreError> {
        script.run(&self.batcher, Payer::Token(owner), &self.key(kind, owner), arguments).await
    }

    /// Reads one field of an owner's records of a kind, or all.
    pub(super) async fn read(
        &self,
        kind: RecordKind,
        owner: &OwnerTag,
        field: Option<&[u8]>,
    ) -> Result<Value, StoreError> {
        let key = self.key(kind, owner);
        let mut command = Cmd::with_capacity(3, key.len() + 64);
        command.arg(if field.is_some() { "HGET" } else { "HGETALL" }).arg(key).arg(field);
        self.batcher.send(command, Payer::Token(owner)).await
    }
}

impl Prefixes {
    /// Keys of an owner key have their own prefix: with another one no session is found, rather than some.
    fn new(prefix: &str, owner_key: &OwnerKey) -> Self {
        let of_kind = |kind| format!("{prefix}{kind}:{:08x}:", u32::from_be_bytes(owner_key.id())).into();
        Self { sessions: of_kind('s'), grants: of_kind('g') }
    }
}

impl RedisTokenStore<SentinelMaster> {
    /// Creates a store on the master that the sentinels currently name.
    ///
    /// After a failover the new master may lack the latest changes, the end of a session included. The guide describes the
    /// consequences.
    #[must_use]
    pub fn from_sentinel(sentinels: SentinelClient, owner_key: OwnerKey) -> Self {
        Self::new(SentinelMaster::new(sentinels), owner_key)
    }
}

impl<C: Connect> Clone for RedisTokenStore<C> {
    fn clone(&self) -> Self {
        Self { batcher: self.batcher.clone(), owner_key: self.owner_key.clone(), prefixes: self.prefixes.clone() }
    }
}

impl<C: Connect> fmt::Debug for RedisTokenStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTokenStore")
            .field("deadline", &self.batcher.deadline)
            .field("max_in_flight", &self.batcher.max_in_flight())
            .field("prefix", &self.prefixes.sessions)
            .finish_non_exhaustive()
    }
}
