//! The error of a request that was not answered.

use std::error::Error;

use crate::protocol::{BoxError, SignError};

/// The error of [`Sign`](super::Sign): the request was not signed, or its response is not known.
///
/// A response of the service is no error, whatever its status. A [`Refusal`](super::Refusal) is in its extensions.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The request was not signed, and was not sent.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The error of the client below. Unless it says otherwise, the request may have been sent.
    #[error(transparent)]
    Client(BoxError),
    /// The client below followed a redirect, and sent the signature to another URL.
    #[error(
        "the client followed a redirect, and sent the signature to {origin}: build the client with \
         redirect::Policy::none(), and follow redirects above SignLayer"
    )]
    #[non_exhaustive]
    Redirected {
        /// The origin of the other URL.
        origin: String,
    },
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
            _ => None,
        }
    }

    /// The reason why the request was not signed, if that is the error.
    #[must_use]
    pub fn sign_error(&self) -> Option<&SignError> {
        match self {
            Self::Sign(error) => Some(error),
            _ => None,
        }
    }
}
