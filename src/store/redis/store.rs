//! Nonces in Redis: one command for each claim.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use bytes::BufMut;
use redis::{Cmd, RedisWrite, sentinel::SentinelClient};
use tokio::sync::Mutex;

use super::{batcher::Batcher, connect::Connect, connections::ConnectionManager, error::ClaimError, quota::Quota};
use crate::{
    protocol::{NonceStatus, Retention},
    store::{NonceClaim, NonceStore, StoreError, VerifierRegistry},
};

/// Remembers nonces in Redis, for verifiers on many machines: a request is let in once between them all.
///
/// A claim is one `SET key 1 NX PX ttl`, which Redis decides atomically. All claims share one connection, which is made
/// by the first of them and made anew when it breaks; those that come at the same time are sent in one piece. A connection
/// that was idle for 100 ms is asked with a PING first, and replaced if it is closed, within the same deadline. A claim
/// that has no answer within the deadline, or finds too many others waiting, is an error, and its request is answered
/// with 503; **it may have been made all the same**: the caller signs again, with a fresh nonce.
///
/// It needs a tokio runtime with timers (`enable_all`), which keeps the deadline, Redis 6.2 or Valkey 7.2 and newer, and
/// a server that drops no key to make room: [`check`](Self::check) looks. The [guide](https://docs.rs/countersign/latest/countersign/guide/redis/) tells how to run it.
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

/// The longest time to live, in milliseconds: Redis counts milliseconds since 1970 in 63 bits, and takes no more.
const LONGEST: u64 = i64::MAX as u64 / 2;

impl<C: Connect> RedisNonceStore<C> {
    /// On one server (`redis::Client`) or a cluster (`redis::cluster::ClusterClient`). Nothing is sent yet.
    ///
    /// A cluster's client sends a command again when it loses the answer, and may then find the nonce taken by itself:
    /// the caller gets `replayed_nonce`. Build it with few `retries`: one follows a slot that has moved. While it connects
    /// to a node that does not answer, twice in a row, claims for all others wait: `connection_timeout` must be less than
    /// half of the deadline. As built by default, it takes two seconds to connect while one node hangs.
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

    /// How long a claim may take, all that it waits for together. Default: 250 ms.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { batcher: Batcher::new(self.connections().clone(), deadline, self.batcher.max_in_flight()), ..self }
    }

    /// How many claims may wait at once. Any other is an error right away. Default: 1,024.
    ///
    /// Apps share these places as they share the room of a [`MemoryNonceStore`](crate::store::MemoryNonceStore#fairness): an app may
    /// take more as long as it has less than three times the free places, so that one app's flood leaves places for the others.
    #[must_use]
    pub fn with_max_in_flight(self, claims: usize) -> Self {
        Self { batcher: Batcher::new(self.connections().clone(), self.batcher.deadline, claims), ..self }
    }

    /// How many live nonces an app may have: a claim beyond that is an error, and its request is answered with 503. Default: no
    /// quota.
    ///
    /// Redis has no fairness of its own: an app that signs enough requests fills its memory, and then every claim fails. This quota
    /// is kept by each process in its own memory, of the claims that it has made itself, and forgotten when the process ends. With
    /// `n` processes behind a load balancer an app may have up to `n` times as many. A claim whose answer is lost counts until it
    /// would have ended. It takes about 50 KB of memory for an app that claims without a pause.
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

    /// What each key begins with, for a Redis that others use too. Default: `cs1:`.
    ///
    /// Verifiers share nonces only if they have it in common. Leave braces out: a cluster keeps all keys with the same
    /// text in braces on one node.
    #[must_use]
    pub fn with_key_prefix(self, prefix: impl Into<Arc<str>>) -> Self {
        Self { prefix: prefix.into(), registry: VerifierRegistry::new(), ..self }
    }

    fn command(&self, claim: &NonceClaim<'_>, milliseconds: u64) -> Cmd {
        let (kind, app, nonce) = (claim.purpose().prefix(), claim.app_id().as_str(), claim.nonce().as_str());
        // All of it and its six words in one piece each.
        let mut command = Cmd::with_capacity(6, self.prefix.len() + app.len() + nonce.len() + 32);
        command.arg("SET");
        // As `NonceClaim::key` has it.
        let mut key = command.bufmut_for_next_arg(0);
        [&*self.prefix, kind, app, "/", nonce].iter().for_each(|part| key.put_slice(part.as_bytes()));
        drop(key);
        command.arg(1).arg("NX").arg("PX").arg(milliseconds);
        command
    }

    async fn claim_within(
        &self,
        quota: &Quota,
        claim: &NonceClaim<'_>,
        lifetime: Retention,
        milliseconds: u64,
    ) -> Result<NonceStatus, StoreError> {
        if !quota.take(claim.app_id(), lifetime) {
            return Err(ClaimError::Quota(quota.most()).into());
        }
        let answer = self.batcher.send(self.command(claim, milliseconds), claim).await;
        let is_held = match &answer {
            Ok(occurrence) => *occurrence == NonceStatus::New,
            Err(error) => error.source().and_then(<dyn Error>::downcast_ref).is_none_or(ClaimError::may_be_spent),
        };
        if !is_held {
            quota.give_back(claim.app_id(), lifetime);
        }
        answer
    }

    pub(super) fn connections(&self) -> &Arc<ConnectionManager<C>> {
        &self.batcher.connections
    }
}

impl RedisNonceStore<Mutex<SentinelClient>> {
    /// On the master that the sentinels name, whichever that is at the time.
    ///
    /// A replica that becomes the master may not have the last claims yet: the guide tells what that means.
    #[must_use]
    pub fn from_sentinel(sentinels: SentinelClient) -> Self {
        Self::new(Mutex::new(sentinels))
    }
}

impl<C: Connect> NonceStore for RedisNonceStore<C> {
    async fn claim(&self, claim: &NonceClaim<'_>, lifetime: Retention) -> Result<NonceStatus, StoreError> {
        // Redis adds it to its own clock, and refuses a sum that is beyond 2^63. A longer life would end no earlier.
        let milliseconds = lifetime.ttl().as_secs().saturating_mul(1000).min(LONGEST);
        if milliseconds == 0 {
            return Ok(NonceStatus::Expired);
        }
        match &self.quota {
            Some(quota) => self.claim_within(quota, claim, lifetime, milliseconds).await,
            None => self.batcher.send(self.command(claim, milliseconds), claim).await,
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
