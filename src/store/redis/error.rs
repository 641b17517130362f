//! Why a claim has no answer.

use std::time::Duration;

use redis::RedisError;

use crate::store::StoreError;

/// A claim that nobody could decide. It is the source of a [`StoreError`], for operators.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// As many claims wait already as may: of all apps together, or of this app beside the others.
    #[error(
        "as many claims wait for Redis as may, of at most {0} of all apps together: it is slow, or away, or the app claims too many"
    )]
    Busy(usize),
    /// The app holds as many nonces as its [quota](super::super::RedisNonceStore::with_app_quota).
    #[error("the app holds {0} live nonces that this process has claimed, as many as its quota")]
    Quota(usize),
    /// Redis has not answered in time. The nonce may be spent.
    #[error("Redis has not answered within {} ms", .0.as_millis())]
    Deadline(Duration),
    /// Whoever sent it is gone: with a runtime that ended, or by a panic of the client's, or of tokio's where the
    /// runtime has no timers. The nonce may be spent.
    #[error("the claim was on its way to Redis when its runtime ended, or the client panicked, or there are no timers")]
    Cancelled,
    /// The claim was made where no tokio runtime is.
    #[error("claims in Redis are made in a tokio runtime, and there is none here")]
    NoRuntime,
    /// There is no connection.
    #[error("there is no connection to Redis")]
    Disconnected(#[source] RedisError),
    /// There is no connection: nobody answered while one was made.
    #[error("there is no connection to Redis: it takes longer to make one than it may")]
    Unreachable,
    /// Redis has answered that it cannot, or the connection broke. In that case the nonce may be spent.
    #[error("Redis could not take the claim")]
    Refused(#[source] RedisError),
    /// The answer is none that this command has.
    #[error("the answer from Redis is neither yes nor no")]
    Unexpected,
}

impl ClaimError {
    /// Whether Redis may have taken the claim all the same.
    pub(super) fn may_be_spent(&self) -> bool {
        match self {
            Self::Deadline(_) | Self::Cancelled | Self::Unexpected => true,
            // An answer of Redis has a code: OOM, for example.
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
