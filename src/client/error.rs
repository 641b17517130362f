//! The error of a request that was not answered.

use std::error::Error;

use super::Refusal;
use crate::protocol::{BoxError, ResponseError, SignError};

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
    /// The request was sent, and its response is not proved to be the service's. Only
    /// [`CheckResponses`](super::CheckResponses) returns this error.
    ///
    /// The service may have carried the request out. Send it again only if it changes nothing, or if it has an idempotency key.
    #[error("the outcome of the request is unknown: {error}")]
    #[non_exhaustive]
    OutcomeUnknown {
        /// What is wrong with the response.
        #[source]
        error: ResponseError,
        /// The refusal that the response claims to be. It helps people to find a cause. Anybody between the client and the
        /// service can make it, so never conclude from it that the request had no effect.
        refusal: Option<Box<Refusal>>,
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

    /// What is wrong with the response, if its signature was required and the outcome is unknown.
    #[must_use]
    pub fn response_error(&self) -> Option<&ResponseError> {
        match self {
            Self::OutcomeUnknown { error, .. } => Some(error),
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
