//! Nonces in Redis: one command for each claim.

use std::{fmt, sync::Arc, time::Duration};

use bytes::BufMut;
use redis::{Cmd, RedisWrite, sentinel::SentinelClient};
use tokio::sync::Mutex;

use super::{connect::Connect, link::Link, outbox::Outbox};
use crate::{
    protocol::{AppId, Lifetime, Nonce, Occurrence},
    store::{NonceStore, StoreError, VerifierRegistry},
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
    outbox: Arc<Outbox<C>>,
    prefix: Arc<str>,
    registry: VerifierRegistry,
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
        let outbox = Outbox::new(Link::new(connector), Self::DEADLINE, Self::MOST_IN_FLIGHT);
        Self { outbox, prefix: "cs1:".into(), registry: VerifierRegistry::new() }
    }

    const DEADLINE: Duration = Duration::from_millis(250);
    const MOST_IN_FLIGHT: usize = 1024;

    /// How long a claim may take, all that it waits for together. Default: 250 ms.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { outbox: Outbox::new(self.link().clone(), deadline, self.outbox.most_in_flight), ..self }
    }

    /// How many claims may wait at once; whatever comes beyond is an error right away. Default: 1,024.
    #[must_use]
    pub fn with_most_in_flight(self, claims: usize) -> Self {
        Self { outbox: Outbox::new(self.link().clone(), self.outbox.deadline, claims), ..self }
    }

    /// What each key begins with, for a Redis that others use too. Default: `cs1:`.
    ///
    /// Verifiers share nonces only if they have it in common. Leave braces out: a cluster keeps all keys with the same
    /// text in braces on one node.
    #[must_use]
    pub fn with_key_prefix(self, prefix: impl Into<Arc<str>>) -> Self {
        Self { prefix: prefix.into(), registry: VerifierRegistry::new(), ..self }
    }

    fn command(&self, app: &AppId, nonce: &Nonce, milliseconds: u64) -> Cmd {
        let (app, nonce) = (app.as_str(), nonce.as_str());
        // All of it and its six words in one piece each.
        let mut command = Cmd::with_capacity(6, self.prefix.len() + app.len() + nonce.len() + 32);
        command.arg("SET");
        // A slash is in neither's grammar, so that no two pairs meet.
        let mut key = command.bufmut_for_next_arg(0);
        [&*self.prefix, app, "/", nonce].iter().for_each(|part| key.put_slice(part.as_bytes()));
        drop(key);
        command.arg(1).arg("NX").arg("PX").arg(milliseconds);
        command
    }

    pub(super) fn link(&self) -> &Arc<Link<C>> {
        &self.outbox.link
    }
}

impl RedisNonceStore<Mutex<SentinelClient>> {
    /// On the master that the sentinels name, whichever that is at the time.
    ///
    /// A replica that becomes the master may not have the last claims yet: the guide tells what that means.
    #[must_use]
    pub fn on_master(sentinels: SentinelClient) -> Self {
        Self::new(Mutex::new(sentinels))
    }
}

impl<C: Connect> NonceStore for RedisNonceStore<C> {
    async fn claim(&self, app: &AppId, nonce: &Nonce, lifetime: Lifetime) -> Result<Occurrence, StoreError> {
        // Redis adds it to its own clock, and refuses a sum that is beyond 2^63. A longer life would end no earlier.
        let milliseconds = lifetime.ttl().as_secs().saturating_mul(1000).min(LONGEST);
        if milliseconds == 0 {
            return Ok(Occurrence::Late);
        }
        self.outbox.send(self.command(app, nonce, milliseconds)).await
    }

    fn outlives_process(&self) -> bool {
        true
    }

    fn registry(&self) -> Option<&VerifierRegistry> {
        Some(&self.registry)
    }
}

impl<C: Connect> Clone for RedisNonceStore<C> {
    fn clone(&self) -> Self {
        Self { outbox: self.outbox.clone(), prefix: self.prefix.clone(), registry: self.registry.clone() }
    }
}

impl<C: Connect> fmt::Debug for RedisNonceStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisNonceStore")
            .field("deadline", &self.outbox.deadline)
            .field("most_in_flight", &self.outbox.most_in_flight)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}
