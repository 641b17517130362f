//! Checks whether a Redis server is suitable for nonces, tokens and submissions.

use std::{sync::Arc, time::Duration};

use redis::{InfoDict, Pipeline, RedisError, Value, from_redis_value};
use tokio::time::timeout;

use super::{connect::Connect, connections::ConnectionManager, error::CommandError, store::RedisNonceStore};

/// The timeout of a check, including the connection.
const TIMEOUT: Duration = Duration::from_secs(2);

impl<C: Connect> RedisNonceStore<C> {
    /// Checks that the Redis server does not evict nonces. Call this before the service starts, so that it does not
    /// start with a server that loses nonces.
    ///
    /// The check is optional. A service may also start while Redis is unreachable: claims fail until it is reachable.
    ///
    /// # Errors
    ///
    /// Fails if the server evicts keys when it is full, is a replica, is too old, is unreachable, or does not answer
    /// within 2 s.
    pub async fn check(&self) -> Result<RedisReport, CheckError> {
        self.connections().check().await
    }
}

impl<C: Connect> ConnectionManager<C> {
    pub(super) async fn check(self: &Arc<Self>) -> Result<RedisReport, CheckError> {
        let (report, policies) = self.ask().await?;
        match policies.into_iter().find(|policy| policy != "noeviction") {
            Some(policy) => Err(CheckError::Evicts(policy)),
            None => Ok(report),
        }
    }

    async fn ask(self: &Arc<Self>) -> Result<(RedisReport, Vec<String>), CheckError> {
        let mut info = Pipeline::new();
        info.cmd("INFO");
        let answers = timeout(TIMEOUT, self.exchange(&info)).await.map_err(|_| CheckError::Timeout)??;
        let answer = answers.into_iter().next().unwrap_or(Ok(Value::Nil)).map_err(CommandError::Refused)?;
        let mut found = Findings::default();
        match answer {
            // A cluster returns a map from the address of each master to its answer.
            Value::Map(servers) => servers.into_iter().try_for_each(|(_, server)| found.add(server))?,
            server => found.add(server)?,
        }
        Ok((found.report, found.policies))
    }
}

/// Runs [`RedisNonceStore::check`], but accepts any `maxmemory-policy`.
///
/// With a server that evicts nonces, replayed requests may be accepted. Use this only if you cannot set the server's
/// policy, and other measures keep its memory from filling up.
///
/// # Errors
///
/// Fails like `check`, except that it accepts every eviction policy.
pub async fn check_allowing_eviction<C: Connect>(store: &RedisNonceStore<C>) -> Result<RedisReport, CheckError> {
    Ok(store.connections().ask().await?.0)
}

/// The result of a check, such as [`RedisNonceStore::check`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisReport {
    /// The number of servers that answered: 1, or the masters of a cluster.
    pub servers: usize,
    /// Whether every server writes to an append-only file. A server without one loses its nonces, tokens and submissions
    /// when it restarts. A request that it accepted before can then be replayed while its timestamp is valid, all users log
    /// in again, and a repeated submission runs again.
    pub has_append_only_file: bool,
}

#[derive(Default)]
struct Findings {
    report: RedisReport,
    policies: Vec<String>,
}

impl Default for RedisReport {
    fn default() -> Self {
        Self { servers: 0, has_append_only_file: true }
    }
}

impl Findings {
    /// Adds the answer of one server.
    fn add(&mut self, server: Value) -> Result<(), CheckError> {
        let text: String = from_redis_value(server).map_err(|error| CheckError::Unanswered(error.into()))?;
        let info = InfoDict::new(&text);
        let word = |name: &str| info.get::<String>(name).unwrap_or_default();
        let version = word("redis_version");
        if numbers(&version) < [6, 2] {
            return Err(CheckError::TooOld(version));
        }
        if word("role") == "slave" {
            return Err(CheckError::Replica);
        }
        self.policies.push(word("maxmemory_policy"));
        self.report.servers += 1;
        self.report.has_append_only_file &= word("aof_enabled") == "1";
        Ok(())
    }
}

/// Returns major and minor version. Valkey reports the Redis version that it is compatible with.
fn numbers(version: &str) -> [u32; 2] {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    [numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)]
}

/// The error of a check: the server is unsuitable for nonces, tokens and submissions, or did not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The server evicts keys when its memory is full.
    #[error(
        "Redis drops keys when it is full (maxmemory-policy {0:?}), and a nonce that is dropped can be replayed, a \
         session that is dropped ends, a submission that is dropped runs again: set noeviction"
    )]
    Evicts(String),
    /// The server is a replica and accepts no writes.
    #[error("this Redis is a replica: connect to the master, by Sentinel for example")]
    Replica,
    /// The server is too old.
    #[error("Redis {0:?} is too old: 6.2 is needed, or Valkey 7.2")]
    TooOld(String),
    /// The server did not answer within 2 s.
    #[error("Redis did not answer within 2 s")]
    Timeout,
    /// The server is unreachable, or its answer is unusable.
    #[error("Redis cannot be checked")]
    Unanswered(#[source] RedisError),
}

impl From<CommandError> for CheckError {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Disconnected(error) | CommandError::Refused(error) => Self::Unanswered(error),
            _ => Self::Timeout,
        }
    }
}
