//! The nonce store in Redis. Each claim is one command.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use bytes::BufMut;
use redis::{Cmd, RedisWrite, Value, sentinel::SentinelClient};

use super::{
    batcher::Batcher,
    connect::{Connect, SentinelMaster},
    connections::ConnectionManager,
    error::CommandError,
    places::Payer,
    quota::Quota,
};
use crate::{
    protocol::{NonceStatus, Retention},
    store::{NonceClaim, NonceStore, StoreError, VerifierRegistry},
};

/// Stores nonces in Redis, for verifiers on several machines. All of them together accept a request at most once.
///
/// A claim is one `SET key 1 NX PX ttl` command, which Redis executes atomically. All claims share one connection. The
/// first claim opens it, and the store replaces it when it breaks. The store sends concurrent claims in one batch. If
/// the connection to a single server was idle for 100 ms, the store sends a PING first and replaces a closed
/// connection, within the same deadline.
///
/// A claim fails if it has no answer within the deadline, or if too many other claims are waiting. Its request gets a
/// 503. **Redis may have recorded the nonce nevertheless**, so the client must sign the retry with a new nonce.
///
/// The store needs a tokio runtime with timers (`enable_all`) for the deadline, Redis 6.2 or Valkey 7.2 and newer, and
/// a server that does not evict keys. [`check`](Self::check) verifies the server. See the
/// [guide](https://docs.rs/countersign/latest/countersign/guide/redis/) for operation.
///
/// ```no_run
/// # use countersign::{StaticKeys, Verifier, store::RedisNonceStore};
/// # fn verifier(keys: StaticKeys) -> Result<Verifier<StaticKeys, RedisNonceStore>, Box<dyn std::error::Error>> {
/// let nonces = RedisNonceStore::new(redis::Client::open("redis://10.0.0.7/")?);
/// let verifier = Verifier::new(keys).with_nonces(nonces);
/// # Ok(verifier)
/// # }
/// ```
pub struct RedisNonceStore<C: Connect = redis::Client> {
    batcher: Arc<Batcher<C>>,
    prefix: Arc<str>,
    registry: VerifierRegistry,
    quota: Option<Arc<Quota>>,
}

/// The longest time to live, in milliseconds. Redis stores milliseconds since 1970 in 63 bits and rejects more.
const LONGEST: u64 = i64::MAX as u64 / 2;

impl<C: Connect> RedisNonceStore<C> {
    /// Creates a store on one server (`redis::Client`) or a cluster (`redis::cluster::ClusterClient`). This sends
    /// nothing to Redis.
    ///
    /// A cluster client sends a command again when it loses the answer. The second command may then find the nonce that
    /// the first one recorded, and the caller gets `replayed_nonce`. Build the client with few `retries`: one is enough
    /// to follow a slot that has moved.
    ///
    /// If a node does not answer, the cluster client tries to connect to it twice in a row. Meanwhile, claims for all
    /// other nodes wait. Set `connection_timeout` to less than half of the deadline. With the default settings of the
    /// client, the two attempts take two seconds.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use countersign::store::RedisNonceStore;
    /// let cluster = redis::cluster::ClusterClientBuilder::new(["redis://10.0.0.7/", "redis://10.0.0.8/"])
    ///     .retries(1)
    ///     .min_retry_wait(10)
    ///     .max_retry_wait(50)
    ///     .connection_timeout(Duration::from_millis(100))
    ///     .response_timeout(Duration::from_millis(200))
    ///     .build()?;
    /// let nonces = RedisNonceStore::new(cluster);
    /// # Ok::<_, redis::RedisError>(())
    /// ```
    pub fn new(connector: C) -> Self {
        let batcher = Batcher::new(ConnectionManager::new(connector), Self::DEADLINE, Self::MAX_IN_FLIGHT);
        Self { batcher, prefix: "cs1:".into(), registry: VerifierRegistry::new(), quota: None }
    }

    const DEADLINE: Duration = Duration::from_millis(250);
    const MAX_IN_FLIGHT: usize = 1024;

    /// Sets the deadline of a claim, including all waiting. Default: 250 ms.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { batcher: Batcher::new(self.connections().clone(), deadline, self.batcher.max_in_flight()), ..self }
    }

    /// Sets how many claims may be in flight. Further claims fail at once. Default: 1,024.
    ///
    /// Apps share these places by the rule of [`MemoryNonceStore`](crate::store::MemoryNonceStore#fairness): an app may
    /// take another place while it holds less than three times the free places. So a flood from one app leaves places
    /// for other apps.
    #[must_use]
    pub fn with_max_in_flight(self, claims: usize) -> Self {
        Self { batcher: Batcher::new(self.connections().clone(), self.batcher.deadline, claims), ..self }
    }

    /// Sets how many live nonces an app may have. Further claims fail, and their requests get a 503. Default: no quota.
    ///
    /// Redis does not share its memory fairly: an app that signs enough requests fills it, and then every claim fails.
    ///
    /// Each process counts in its own memory, and only its own claims. The count is lost when the process ends. With
    /// `n` processes behind a load balancer, an app may have up to `n` times the quota. A claim without an answer
    /// counts until its nonce would expire. For an app that claims continuously, the count takes about 50 KB of memory.
    ///
    /// ```no_run
    /// # use countersign::store::RedisNonceStore;
    /// // 100 requests per second, each remembered for up to 661 seconds.
    /// let nonces = RedisNonceStore::new(redis::Client::open("redis://10.0.0.7/")?).with_app_quota(100 * 661);
    /// # Ok::<_, redis::RedisError>(())
    /// ```
    #[must_use]
    pub fn with_app_quota(self, nonces: usize) -> Self {
        Self { quota: Some(Arc::new(Quota::new(nonces))), ..self }
    }

    /// Sets the prefix of all keys, for a Redis that other programs use too. Default: `cs1:`.
    ///
    /// Verifiers share nonces only if they use the same prefix. Do not use braces: a cluster stores all keys with the
    /// same text in braces on one node.
    #[must_use]
    pub fn with_key_prefix(self, prefix: impl Into<Arc<str>>) -> Self {
        Self { prefix: prefix.into(), registry: VerifierRegistry::new(), ..self }
    }

    fn command(&self, claim: &NonceClaim<'_>, milliseconds: u64) -> Cmd {
        let (kind, app, nonce) = (claim.purpose().prefix(), claim.app_id().as_str(), claim.nonce().as_str());
        // Allocate the command and the list of its six arguments once each.
        let mut command = Cmd::with_capacity(6, self.prefix.len() + app.len() + nonce.len() + 32);
        command.arg("SET");
        // The same format as `NonceClaim::key`.
        let mut key = command.bufmut_for_next_arg(0);
        [&*self.prefix, kind, app, "/", nonce].iter().for_each(|part| key.put_slice(part.as_bytes()));
        drop(key);
        command.arg(1).arg("NX").arg("PX").arg(milliseconds);
        command
    }

    async fn send(&self, claim: &NonceClaim<'_>, milliseconds: u64) -> Result<NonceStatus, StoreError> {
        let answer = self.batcher.send(self.command(claim, milliseconds), Payer::Nonce(claim));
        match answer.await? {
            Value::Okay => Ok(NonceStatus::New),
            Value::Nil => Ok(NonceStatus::Replayed),
            _ => Err(CommandError::Unexpected.into()),
        }
    }

    async fn claim_within(
        &self,
        quota: &Quota,
        claim: &NonceClaim<'_>,
        retention: Retention,
        milliseconds: u64,
    ) -> Result<NonceStatus, StoreError> {
        if !quota.take(claim.app_id(), retention) {
            return Err(CommandError::Quota(quota.most()).into());
        }
        let answer = self.send(claim, milliseconds).await;
        let is_held = match &answer {
            Ok(status) => *status == NonceStatus::New,
            Err(error) => error.source().and_then(<dyn Error>::downcast_ref).is_none_or(CommandError::may_have_run),
        };
        if !is_held {
            quota.give_back(claim.app_id(), retention);
        }
        answer
    }

    pub(super) fn connections(&self) -> &Arc<ConnectionManager<C>> {
        &self.batcher.connections
    }

    #[cfg(feature = "tokens")]
    pub(super) fn batcher(&self) -> &Arc<Batcher<C>> {
        &self.batcher
    }

    #[cfg(feature = "tokens")]
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl RedisNonceStore<SentinelMaster> {
    /// Creates a store on the master that the sentinels currently name.
    ///
    /// After a failover the new master may lack the latest claims. The guide describes the consequences.
    #[must_use]
    pub fn from_sentinel(sentinels: SentinelClient) -> Self {
        Self::new(SentinelMaster::new(sentinels))
    }
}

impl<C: Connect> NonceStore for RedisNonceStore<C> {
    async fn claim(&self, claim: &NonceClaim<'_>, retention: Retention) -> Result<NonceStatus, StoreError> {
        // Redis adds this to its own clock and rejects a sum above 2^63. A longer time to live makes no difference.
        let milliseconds = retention.ttl().as_secs().saturating_mul(1000).min(LONGEST);
        if milliseconds == 0 {
            return Ok(NonceStatus::Expired);
        }
        match &self.quota {
            Some(quota) => self.claim_within(quota, claim, retention, milliseconds).await,
            None => self.send(claim, milliseconds).await,
        }
    }

    fn is_persistent(&self) -> bool {
        true
    }

    fn registry(&self) -> Option<&VerifierRegistry> {
        Some(&self.registry)
    }
}

impl<C: Connect> Clone for RedisNonceStore<C> {
    fn clone(&self) -> Self {
        Self {
            batcher: self.batcher.clone(),
            prefix: self.prefix.clone(),
            registry: self.registry.clone(),
            quota: self.quota.clone(),
        }
    }
}

impl<C: Connect> fmt::Debug for RedisNonceStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisNonceStore")
            .field("deadline", &self.batcher.deadline)
            .field("max_in_flight", &self.batcher.max_in_flight())
            .field("prefix", &self.prefix)
            .field("app_quota", &self.quota.as_ref().map(|quota| quota.most()))
            .finish_non_exhaustive()
    }
}
