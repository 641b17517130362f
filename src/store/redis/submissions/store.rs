//! The submission store in Redis: its configuration, and the way of its commands.

use std::{fmt, sync::Arc, time::Duration};

use base64ct::{Base64UrlUnpadded, Encoding};
use redis::{Value, sentinel::SentinelClient};

use super::super::{
    batcher::Batcher,
    check::{CheckError, RedisReport},
    connect::{Connect, SentinelMaster},
    connections::ConnectionManager,
    places::Payer,
    script::Script,
};
use crate::store::{RedisNonceStore, StoreError, SubmissionRef};

/// Stores submissions in Redis, for services on several machines. All of them together run a submission once.
///
/// Each submission is one key, and each call is one script, which Redis runs as a whole. All times are those of the clock of
/// Redis. Redis removes the key when the submission expires.
///
/// The commands are sent like those of a [`RedisNonceStore`], which can [share](Self::sharing) its connection. A command
/// fails if it has no answer within the deadline, or if too many other commands are waiting. The request gets a 503.
/// **Redis may have run the command nevertheless**: a place may be reserved until the lease ends.
///
/// A full Redis rejects new submissions. It still renews leases and stores how running submissions end, so it may exceed
/// `maxmemory` by their answers.
///
/// After a failover the new master may lack the latest submissions, because replication had not delivered them. **A repeated
/// submission then runs again.** The [guide](https://docs.rs/countersign/latest/countersign/guide/redis/) says how to make
/// this less likely.
///
/// The store needs a tokio runtime with timers (`enable_all`), Redis 6.2 or Valkey 7.2 and newer, and a server that does
/// not evict keys: an evicted submission runs again. [`check`](Self::check) verifies the server. Stored answers take much
/// more memory than nonces, so use a Redis of their own for submissions.
///
/// ```no_run
/// use countersign::store::RedisSubmissionStore;
///
/// # async fn store() -> Result<RedisSubmissionStore, Box<dyn std::error::Error>> {
/// let submissions = RedisSubmissionStore::new(redis::Client::open("redis://10.0.0.8/")?);
/// submissions.check().await?;
/// # Ok(submissions)
/// # }
/// ```
pub struct RedisSubmissionStore<C: Connect = redis::Client> {
    batcher: Arc<Batcher<C>>,
    prefix: Arc<str>,
}

impl<C: Connect> RedisSubmissionStore<C> {
    /// Creates a store on one server (`redis::Client`) or a cluster (`redis::cluster::ClusterClient`). This sends nothing to
    /// Redis. [`RedisNonceStore::new`] says how to configure the client of a cluster.
    ///
    /// A cluster client sends a command again when it loses the answer. `renew` and `reserve` then have the same result.
    /// `finish`, `settle` and `forget` may return false although the first command ended the submission.
    pub fn new(connector: C) -> Self {
        Self::sharing(&RedisNonceStore::new(connector))
    }

    /// Creates a store with the connection, the batches, the deadline and the key prefix of a nonce store. Commands for
    /// nonces and for submissions then travel together.
    ///
    /// Each store keeps its own [number of commands in flight](Self::with_max_in_flight), so that a flood of submissions
    /// leaves places for nonces. Both fill the same Redis: stored answers can leave no memory for nonces.
    #[must_use]
    pub fn sharing(nonces: &RedisNonceStore<C>) -> Self {
        Self { batcher: nonces.batcher().clone(), prefix: key_prefix(nonces.prefix()) }
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
    /// Apps and their users share these places by the rule of [`MemoryNonceStore`](crate::store::MemoryNonceStore#fairness):
    /// an app may take another place while it holds less than three times the free places. The commands then travel apart
    /// from those of a nonce store, over the same connection.
    #[must_use]
    pub fn with_max_in_flight(self, commands: usize) -> Self {
        Self { batcher: Batcher::new(self.connections().clone(), self.batcher.deadline, commands), ..self }
    }

    /// Sets the prefix of all keys, for a Redis that other programs use too. Default: `cs1:`.
    ///
    /// Services share submissions only if they use the same prefix. Do not use braces: a cluster stores all keys with the
    /// same text in braces on one node.
    #[must_use]
    pub fn with_key_prefix(self, prefix: &str) -> Self {
        Self { prefix: key_prefix(prefix), ..self }
    }

    /// Checks that the Redis server does not evict submissions, like [`RedisNonceStore::check`].
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

    /// The key of a place: the prefix, and the place's key in base64url.
    fn key(&self, at: &SubmissionRef) -> Vec<u8> {
        let mut place = [0; 43];
        // The buffer has the length that base64url needs.
        let place = Base64UrlUnpadded::encode(at.key(), &mut place).unwrap_or_default();
        [self.prefix.as_bytes(), place.as_bytes()].concat()
    }

    pub(super) async fn run(
        &self,
        script: &Script,
        at: &SubmissionRef,
        arguments: &[&[u8]],
    ) -> Result<Value, StoreError> {
        script.run(&self.batcher, Payer::Submission(at), &self.key(at), arguments).await
    }
}

fn key_prefix(prefix: &str) -> Arc<str> {
    format!("{prefix}o:").into()
}

impl RedisSubmissionStore<SentinelMaster> {
    /// Creates a store on the master that the sentinels currently name.
    ///
    /// After a failover the new master may lack the latest submissions, which then run again. The guide describes the
    /// consequences.
    #[must_use]
    pub fn from_sentinel(sentinels: SentinelClient) -> Self {
        Self::new(SentinelMaster::new(sentinels))
    }
}

impl<C: Connect> Clone for RedisSubmissionStore<C> {
    fn clone(&self) -> Self {
        Self { batcher: self.batcher.clone(), prefix: self.prefix.clone() }
    }
}

impl<C: Connect> fmt::Debug for RedisSubmissionStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSubmissionStore")
            .field("deadline", &self.batcher.deadline)
            .field("max_in_flight", &self.batcher.max_in_flight())
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}
