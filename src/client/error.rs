//! The error of a request that was not answered.

use std::error::Error;

use crate::protocol::{BoxError, SignError};

/// The error of [`Sign`](super::Sign): the request was not signed, or the client below failed.
///
/// A response of the service is no error, whatever its status. A [`Refusal`](super::Refusal) is in its extensions.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The request was not signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The error of the client below.
    #[error(transparent)]
    Client(BoxError),
}

impl SendError {
    /// The client's error, if it has this type. Errors of layers between `SignLayer` and the client hide it.
    ///
    /// ```
    /// # #[cfg(feature = "reqwest")]
    /// fn is_timeout(error: &countersign::SendError) -> bool {
    ///     error.client_error::<reqwest::Error>().is_some_and(reqwest::Error::is_timeout)
    /// }
    /// ```
    #[must_use]
    pub fn client_error<E: Error + 'static>(&self) -> Option<&E> {
        match self {
            Self::Client(error) => error.downcast_ref(),
            Self::Sign(_) => None,
        }
    }

    /// The reason why the request was not signed, if that is the error.
    #[must_use]
    pub fn sign_error(&self) -> Option<&SignError> {
        match self {
            Self::Sign(error) => Some(error),
            Self::Client(_) => None,
        }
    }
}
