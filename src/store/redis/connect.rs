//! Opens connections: to one server, to the master that Sentinel names, or to a cluster.

use std::{fmt, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, RedisResult,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    sentinel::SentinelClient,
};
use tokio::sync::Mutex;

/// The timeout for several servers. With the clients' own timeouts, one server that hangs costs two seconds.
const OF_SEVERAL: Duration = Duration::from_secs(5);

/// Opens the connection of a store in Redis, such as [`RedisNonceStore`](crate::store::RedisNonceStore). The store calls it when it has no
/// connection.
///
/// The store limits the time of the attempt. Clones of the connection value share one connection.
pub trait Connect: Send + Sync + 'static {
    /// The connection. It multiplexes the commands of its clones.
    type Connection: ConnectionLike + Clone + Send + Sync + 'static;

    /// Whether the connection manages several connections and reopens them by itself, like the connection to a cluster.
    /// Default: `false`.
    ///
    /// The store keeps such a connection when a command fails, because the other connections may still work. It
    /// discards the connection when no server answers on it. While commands fail, it replaces the connection from time
    /// to time.
    const RECONNECTS: bool = false;

    /// The timeout of an attempt to connect. After the timeout, the store can try again. Default: one second. The
    /// connectors for Sentinel and for a cluster use five seconds, because they wait for each unresponsive server in
    /// turn.
    ///
    /// The store connects in the background. The deadline of a command is
    /// [`RedisNonceStore::with_deadline`](crate::store::RedisNonceStore::with_deadline).
    const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

    /// Opens a connection that is ready for commands.
    ///
    /// # Errors
    ///
    /// Fails if the server is unreachable, or its answer is unexpected.
    fn connect(&self) -> impl Future<Output = RedisResult<Self::Connection>> + Send;
}

/// Connects to one server: `redis://`, `rediss://` (feature `redis-tls`) or `redis+unix://`.
impl Connect for Client {
    type Connection = MultiplexedConnection;

    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        self.get_multiplexed_async_connection_with_config(&unbounded()).await
    }
}

/// Connects to the master that the sentinels name. See
/// [`RedisNonceStore::from_sentinel`](crate::store::RedisNonceStore::from_sentinel).
pub struct SentinelMaster(Mutex<SentinelClient>);

impl SentinelMaster {
    pub(super) fn new(sentinels: SentinelClient) -> Self {
        Self(Mutex::new(sentinels))
    }
}

impl fmt::Debug for SentinelMaster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SentinelMaster(..)")
    }
}

/// Asks the sentinels for the master at each attempt, so that the store follows a failover.
impl Connect for SentinelMaster {
    type Connection = MultiplexedConnection;

    const CONNECT_TIMEOUT: Duration = OF_SEVERAL;

    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        self.0.lock().await.get_async_connection_with_config(&unbounded()).await
    }
}

/// Connects to a cluster. The client follows slots from node to node.
impl Connect for ClusterClient {
    type Connection = ClusterConnection;

    const RECONNECTS: bool = true;

    const CONNECT_TIMEOUT: Duration = OF_SEVERAL;

    async fn connect(&self) -> RedisResult<ClusterConnection> {
        self.get_async_connection().await
    }
}

/// Disables the client's timeouts, because the store's deadline covers all waiting of a command.
fn unbounded() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None)
}
