//! Whether a Redis may be trusted with nonces.

use std::time::Duration;

use redis::{InfoDict, Pipeline, RedisError, Value, from_redis_value};
use tokio::time::timeout;

use super::{connect::Connect, error::ClaimError, store::RedisNonceStore};

/// How long asking may take, the connection included.
const TIMEOUT: Duration = Duration::from_secs(2);

impl<C: Connect> RedisNonceStore<C> {
    /// Asks Redis whether it keeps what it is told: before a service starts, so that it does not start on one that forgets.
    ///
    /// A service may start without it, and without Redis: claims are errors until it is there.
    ///
    /// # Errors
    ///
    /// It drops keys when it is full, is a replica, is too old, or cannot be asked within 2 s.
    pub async fn check(&self) -> Result<RedisReport, CheckError> {
        let (report, policies) = self.ask().await?;
        match policies.into_iter().find(|policy| policy != "noeviction") {
            Some(policy) => Err(CheckError::Evicts(policy)),
            None => Ok(report),
        }
    }

    async fn ask(&self) -> Result<(RedisReport, Vec<String>), CheckError> {
        let mut info = Pipeline::new();
        info.cmd("INFO");
        let answers = timeout(TIMEOUT, self.connections().exchange(&info)).await.map_err(|_| CheckError::Timeout)??;
        let answer = answers.into_iter().next().unwrap_or(Ok(Value::Nil)).map_err(ClaimError::Refused)?;
        let mut found = Findings::default();
        match answer {
            // A cluster's masters, each by its address.
            Value::Map(servers) => servers.into_iter().try_for_each(|(_, server)| found.add(server))?,
            server => found.add(server)?,
        }
        Ok((found.report, found.policies))
    }
}

/// [`RedisNonceStore::check`], whatever the server's `maxmemory-policy` is.
///
/// A server that drops nonces when it is full lets replays in. This is for one whose memory cannot be full by other
/// means, and whose policy cannot be set.
///
/// # Errors
///
/// Those of `check`, but for that one.
pub async fn check_allowing_eviction<C: Connect>(store: &RedisNonceStore<C>) -> Result<RedisReport, CheckError> {
    Ok(store.ask().await?.0)
}

/// What [`RedisNonceStore::check`] has found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisReport {
    /// How many servers were asked: 1, or the masters of a cluster.
    pub servers: usize,
    /// Whether each of them writes what it is told to an append-only file. One that does not forgets nonces when it
    /// restarts, and what was let in before can be let in again for as long as its timestamp passes.
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
    /// Adds what one server says of itself.
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

/// Major and minor. Valkey names the Redis version that it is compatible with.
fn numbers(version: &str) -> [u32; 2] {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    [numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)]
}

/// Why a Redis must not be trusted with nonces, or could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// It drops keys when its memory is full.
    #[error(
        "Redis drops keys when it is full (maxmemory-policy {0:?}), and a nonce that is dropped can be replayed: set \
         noeviction"
    )]
    Evicts(String),
    /// It takes no claims.
    #[error("this Redis is a replica: connect to the master, by Sentinel for example")]
    Replica,
    /// It is too old.
    #[error("Redis {0:?} is too old: 6.2 is needed, or Valkey 7.2")]
    TooOld(String),
    /// It did not answer within 2 s.
    #[error("Redis could not be asked: it did not answer within 2 s")]
    Timeout,
    /// It cannot be reached, or does not tell.
    #[error("Redis could not be asked")]
    Unanswered(#[source] RedisError),
}

impl From<ClaimError> for CheckError {
    fn from(error: ClaimError) -> Self {
        match error {
            ClaimError::Disconnected(error) | ClaimError::Refused(error) => Self::Unanswered(error),
            _ => Self::Timeout,
        }
    }
}
