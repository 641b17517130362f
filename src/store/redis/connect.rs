//! How a connection is made: to one server, to the master that Sentinel names, or to a cluster.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, RedisResult,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    sentinel::SentinelClient,
};
use tokio::sync::Mutex;

/// With the waits that the clients have by themselves, one server that hangs costs two seconds.
const OF_SEVERAL: Duration = Duration::from_secs(5);

/// Makes the connection of a [`RedisNonceStore`](crate::store::RedisNonceStore): each time that it has none, or has lost the
/// one it had.
///
/// It is bounded in time by the store. Clones of the connection share it.
pub trait Connect: Send + Sync + 'static {
    /// Sends commands, those of its clones mixed.
    type Connection: ConnectionLike + Clone + Send + Sync + 'static;

    /// Whether the connection stands for many and makes them anew by itself, as a cluster's does.
    ///
    /// It is then kept when a command fails, for that says nothing of the others. It is given up when nobody answers on
    /// it, and replaced by a new one now and then for as long as commands fail.
    const RECONNECTS: bool = false;

    /// How long making a connection may take, before it is tried anew: one second by default, and five where several
    /// servers are asked, for each of those that hang is waited for in turn.
    ///
    /// It is made behind the claims' back: what bounds the wait of a claim is
    /// [`RedisNonceStore::with_deadline`](crate::store::RedisNonceStore::with_deadline).
    const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

    /// Makes a connection that is ready for commands.
    ///
    /// # Errors
    ///
    /// Nobody answers, or not as expected.
    fn connect(&self) -> impl Future<Output = RedisResult<Self::Connection>> + Send;
}

/// One server: `redis://`, `rediss://` (feature `redis-tls`) or `redis+unix://`.
impl Connect for Client {
    type Connection = MultiplexedConnection;

    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        self.get_multiplexed_async_connection_with_config(&unbounded()).await
    }
}

/// The master of a name: the sentinels are asked each time, so a failover is followed.
impl Connect for Mutex<SentinelClient> {
    type Connection = MultiplexedConnection;

    const CONNECT_TIMEOUT: Duration = OF_SEVERAL;

    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        self.lock().await.get_async_connection_with_config(&unbounded()).await
    }
}

/// A cluster, whose client follows slots from node to node.
impl Connect for ClusterClient {
    type Connection = ClusterConnection;

    const RECONNECTS: bool = true;

    const CONNECT_TIMEOUT: Duration = OF_SEVERAL;

    async fn connect(&self) -> RedisResult<ClusterConnection> {
        self.get_async_connection().await
    }
}

/// The store has deadlines of its own, for all that a claim waits for together.
fn unbounded() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None)
}
