//! Why a look-up has no answer.

use std::{sync::Arc, time::Duration};

use crate::store::StoreError;

/// A look-up that found out nothing. It is the source of a [`StoreError`], for operators; all who waited for the same
/// look-up get the same one.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// The store has not answered in time.
    #[error("the key store has not answered within {} ms", .0.as_millis())]
    Deadline(Duration),
    /// The store could not tell.
    #[error("the key store failed")]
    Failed(#[source] Arc<StoreError>),
    /// Look-ups of ids that may be nobody's wait already, as many as may: somebody makes ids up, or the store is slow.
    #[error("{0} look-ups of ids that are not known wait already, as many as may")]
    Busy(usize),
    /// The store panicked.
    #[error("the key store panicked")]
    Panicked,
    /// There is no tokio runtime to look up on, or it ends.
    #[error("there is no tokio runtime, or it is shutting down")]
    NoRuntime,
}

impl From<LookupError> for StoreError {
    fn from(error: LookupError) -> Self {
        Self::new(error)
    }
}
