//! Errors of claims in Redis.

use std::time::Duration;

use redis::RedisError;

use crate::store::StoreError;

/// The error of a claim without an answer. It is the source of a [`StoreError`], for operators.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// Too many claims are in flight: of all apps together, or of this app given its share.
    #[error(
        "as many claims wait for Redis as may, of at most {0} of all apps together: it is slow, or away, or the app claims too many"
    )]
    Busy(usize),
    /// The app has reached its [quota](super::super::RedisNonceStore::with_app_quota) of nonces.
    #[error("the app holds {0} live nonces that this process has claimed, as many as its quota")]
    Quota(usize),
    /// Redis did not answer within the deadline. The nonce may be used up.
    #[error("Redis has not answered within {} ms", .0.as_millis())]
    Deadline(Duration),
    /// The task that sent the claim ended: its runtime shut down, the client panicked, or tokio panicked because the
    /// runtime has no timers. The nonce may be used up.
    #[error("the claim was on its way to Redis when its runtime ended, or the client panicked, or there are no timers")]
    Cancelled,
    /// The claim was made outside a tokio runtime.
    #[error("claims in Redis are made in a tokio runtime, and there is none here")]
    NoRuntime,
    /// The connection attempt failed.
    #[error("there is no connection to Redis")]
    Disconnected(#[source] RedisError),
    /// The connection attempt timed out.
    #[error("there is no connection to Redis: it takes longer to make one than it may")]
    Unreachable,
    /// Redis returned an error, or the connection broke. If it broke, the nonce may be used up.
    #[error("Redis could not take the claim")]
    Refused(#[source] RedisError),
    /// Redis returned an unexpected reply.
    #[error("the answer from Redis is neither yes nor no")]
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
