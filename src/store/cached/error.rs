//! Errors of lookups.

use std::{sync::Arc, time::Duration};

use crate::store::StoreError;

/// The error of a lookup without an answer. It is the source of a [`StoreError`], for operators. All requests that
/// waited for the same lookup get the same error.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// The store did not answer within the deadline.
    #[error("the key store did not answer within {} ms", .0.as_millis())]
    Deadline(Duration),
    /// The store returned an error.
    #[error("the key store failed")]
    Failed(#[source] Arc<StoreError>),
    /// Too many lookups of unknown ids are in flight: requests use made-up ids, or the store is slow.
    #[error("too many lookups of unknown apps in flight (limit {0})")]
    Busy(usize),
    /// The store panicked.
    #[error("the key store panicked")]
    Panicked,
    /// There is no tokio runtime, or it is shutting down.
    #[error("there is no tokio runtime, or it is shutting down")]
    NoRuntime,
}

impl From<LookupError> for StoreError {
    fn from(error: LookupError) -> Self {
        Self::new(error)
    }
}
