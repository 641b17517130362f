//! Errors of claims in Redis.

use std::time::Duration;

use redis::RedisError;

use crate::store::StoreError;

/// The error of a claim without an answer. It is the source of a [`StoreError`], for operators.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// Too many claims are in flight: either of all apps together, or of this app.
    #[error(
        "too many claims in flight (limit {0} for all apps, and a share of it for each): Redis is slow or unreachable, or the app sends too many requests"
    )]
    Busy(usize),
    /// The app has reached its [quota](super::super::RedisNonceStore::with_app_quota) of nonces.
    #[error("the app has reached its quota of {0} live nonces in this process")]
    Quota(usize),
    /// Redis did not answer within the deadline. The nonce may be used up.
    #[error("Redis did not answer within {} ms", .0.as_millis())]
    Deadline(Duration),
    /// The task that sent the claim ended: its runtime shut down, the client panicked, or tokio panicked because the
    /// runtime has no timers. The nonce may be used up.
    #[error("the claim was cancelled: its runtime ended, the Redis client panicked, or the runtime has no timers")]
    Cancelled,
    /// The claim was made outside a tokio runtime.
    #[error("a claim in Redis needs a tokio runtime, and there is none here")]
    NoRuntime,
    /// The connection attempt failed.
    #[error("not connected to Redis")]
    Disconnected(#[source] RedisError),
    /// The connection attempt timed out.
    #[error("connecting to Redis timed out")]
    Unreachable,
    /// Redis returned an error, or the connection broke. If it broke, the nonce may be used up.
    #[error("Redis rejected the claim, or the connection broke")]
    Refused(#[source] RedisError),
    /// Redis returned an unexpected reply.
    #[error("unexpected reply from Redis")]
    Unexpected,
}

impl ClaimError {
    /// Returns whether Redis may have recorded the nonce despite the error.
    pub(super) fn may_be_spent(&self) -> bool {
        match self {
            Self::Deadline(_) | Self::Cancelled | Self::Unexpected => true,
            // An error reply from Redis has a code, for example OOM.
            Self::Refused(error) => error.code().is_none(),
            _ => false,
        }
    }
}

impl From<ClaimError> for StoreError {
    fn from(error: ClaimError) -> Self {
        Self::new(error)
    }
}
