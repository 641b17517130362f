//! Why a claim has no answer.

use std::time::Duration;

use redis::RedisError;

use super::link::Failure;
use crate::store::StoreError;

/// A claim that nobody could decide. It is the source of a [`StoreError`], for operators.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// As many claims wait already as may.
    #[error("{0} claims wait for Redis already, as many as may: it is slow, or away")]
    Busy(usize),
    /// Redis has not answered in time. The nonce may be spent.
    #[error("Redis has not answered within {} ms", .0.as_millis())]
    Deadline(Duration),
    /// Whoever sent it is gone: with a runtime that ended, or by a panic of the client's, or of tokio's where the
    /// runtime has no timers. The nonce may be spent.
    #[error("the claim was on its way to Redis when its runtime ended, or the client panicked, or there are no timers")]
    Abandoned,
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

impl From<Failure> for ClaimError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(error) => Self::Disconnected(error),
            Failure::TimedOut => Self::Unreachable,
        }
    }
}

impl From<ClaimError> for StoreError {
    fn from(error: ClaimError) -> Self {
        Self::new(error)
    }
}
