//! Errors of commands in Redis.

use std::time::Duration;

use redis::RedisError;

use crate::store::StoreError;

/// The error of a command without an answer: the claim of a nonce, or a use of a token or a submission. It is the source of a
/// [`StoreError`], for operators.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// Too many commands are in flight: either of all together, or of this app or this owner of tokens.
    #[error(
        "too many commands in flight (limit {0} for all apps, and a share of it for each): Redis is slow or unreachable, or the app sends too many requests"
    )]
    Busy(usize),
    /// The app has reached its [quota](super::super::RedisNonceStore::with_app_quota) of nonces.
    #[error("the app has reached its quota of {0} live nonces in this process")]
    Quota(usize),
    /// Redis did not answer within the deadline. It may have run the command: a nonce may be used up.
    #[error("Redis did not answer within {} ms", .0.as_millis())]
    Deadline(Duration),
    /// The task that sent the command ended: its runtime shut down, the client panicked, or tokio panicked because the
    /// runtime has no timers. Redis may have run the command.
    #[error("the command was cancelled: its runtime ended, the Redis client panicked, or the runtime has no timers")]
    Cancelled,
    /// The command was made outside a tokio runtime.
    #[error("a command to Redis needs a tokio runtime, and there is none here")]
    NoRuntime,
    /// The connection attempt failed.
    #[error("not connected to Redis")]
    Disconnected(#[source] RedisError),
    /// The connection attempt timed out.
    #[error("connecting to Redis timed out")]
    Unreachable,
    /// Redis returned an error, or the connection broke. If it broke, Redis may have run the command.
    #[error("Redis rejected the command, or the connection broke")]
    Refused(#[source] RedisError),
    /// Redis returned an unexpected reply.
    #[error("unexpected reply from Redis")]
    Unexpected,
    /// Redis has a token, a session or a submission that this release cannot read. Another release may have written it.
    #[error("Redis has an entry that this release of the crate cannot read: another release may have written it")]
    Unreadable,
}

impl CommandError {
    /// Returns whether Redis may have run the command despite the error.
    pub(super) fn may_have_run(&self) -> bool {
        match self {
            Self::Deadline(_) | Self::Cancelled | Self::Unexpected => true,
            // An error reply from Redis has a code, for example OOM.
            Self::Refused(error) => error.code().is_none(),
            _ => false,
        }
    }
}

impl From<CommandError> for StoreError {
    fn from(error: CommandError) -> Self {
        Self::new(error)
    }
}
