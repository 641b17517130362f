//! The errors of calls. They differ in what the caller knows about the request.

use std::{fmt, time::Duration};

use countersign::{Refusal, RejectionKind, SendError, SignError};
use reqwest::StatusCode;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The error of a call. No variant shows the secret or a signature.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request could not be made, for example because a file cannot be read. It was not sent.
    #[error("the request could not be made")]
    NotMade(#[source] BoxError),
    /// The request could not be signed. It was not sent.
    #[error("the request could not be signed")]
    NotSigned(#[source] SignError),
    /// There was no connection to the service. The request was not sent.
    #[error("no connection to the service")]
    Unreachable(#[source] reqwest::Error),
    /// The request was sent and its answer is not known: a timeout, or a connection that broke. The service may have
    /// carried it out. The source is the error of the last attempt.
    ///
    /// Place an order again with the same key. Before you send anything else again, ask the service.
    #[error("no answer from the service, which may have carried the request out")]
    OutcomeUnknown(#[source] BoxError),
    /// The service's verifier refused the request. The text names the cause.
    #[error("the service refused the request: {0}")]
    Refused(Box<Refusal>),
    /// An earlier attempt was answered, and its answer is lost. [`Refusal::first_status`] says the outcome, and
    /// [`Refusal::first_location`] where to look.
    #[error("the service has answered this order before: {}", first_status(.0))]
    Duplicate(Box<Refusal>),
    /// The service answered with an error of its own.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The service carried the request out, and this version of the client does not understand the answer.
    #[error("the answer with status {status} could not be decoded")]
    Undecodable {
        /// The status.
        status: StatusCode,
        /// The reason.
        source: BoxError,
    },
}

/// An error answer of the service itself.
#[derive(Debug, thiserror::Error)]
#[error("the service answered with {status}: {}", excerpt(body))]
#[non_exhaustive]
pub struct ApiError {
    /// The status.
    pub status: StatusCode,
    /// The body, as text.
    pub body: String,
    /// The time after which the service suggests a retry.
    pub retry_after: Option<Duration>,
}

impl Error {
    /// Whether the service may have carried the request out. An answer with a status of 500 or above leaves that open too.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        match self {
            Self::OutcomeUnknown(_) => true,
            Self::Api(error) => error.status.is_server_error(),
            _ => false,
        }
    }

    /// The verifier's refusal, if this is one, or the last attempt of an unknown outcome ended with one.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) | Self::Duplicate(refusal) => Some(refusal),
            Self::OutcomeUnknown(source) => source.downcast_ref().and_then(Self::refusal),
            _ => None,
        }
    }

    /// Whether another attempt may succeed.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            // The service does not know either, and does not run the order again.
            Self::OutcomeUnknown(_) => self.kind() != Some(RejectionKind::SubmissionOutcomeUnknown),
            // After a correction of the clock, `SignLayer` itself sends only requests whose body it has kept.
            Self::Refused(refusal) => {
                let is_temporary =
                    matches!(self.kind(), Some(RejectionKind::Unavailable | RejectionKind::SubmissionInProgress));
                is_temporary || refusal.is_clock_corrected()
            }
            Self::Api(error) => matches!(error.status.as_u16(), 408 | 429 | 502..=504),
            Self::NotMade(_) | Self::NotSigned(_) | Self::Duplicate(_) | Self::Undecodable { .. } => false,
        }
    }

    fn kind(&self) -> Option<RejectionKind> {
        self.refusal()?.kind()
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after(),
            Self::Api(error) => error.retry_after,
            _ => None,
        }
    }

    /// The error of the last attempt, after an earlier one whose outcome is unknown. Only an answer about the request itself
    /// decides it: a refusal of this attempt says nothing about the earlier one.
    pub(crate) fn after_unknown_outcome(self) -> Self {
        let is_decided = match &self {
            Self::Api(error) => error.status.is_client_error() && !self.is_transient(),
            Self::Undecodable { .. } | Self::Duplicate(_) => true,
            _ => false,
        };
        match is_decided || self.is_outcome_unknown() {
            true => self,
            false => Self::OutcomeUnknown(self.into()),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let kind = refusal.kind();
        let refusal = Box::new(refusal);
        match kind {
            // Each attempt has a fresh nonce, so something on the way sent this request twice. The first copy got in.
            // Or an earlier attempt failed in the service.
            Some(RejectionKind::ReplayedNonce | RejectionKind::SubmissionOutcomeUnknown) => {
                Self::OutcomeUnknown(Self::Refused(refusal).into())
            }
            Some(RejectionKind::DuplicateSubmission) => Self::Duplicate(refusal),
            _ => Self::Refused(refusal),
        }
    }
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Sign(error) => Self::NotSigned(error),
            SendError::Client(source) => match source.downcast::<reqwest::Error>() {
                Ok(error) if error.is_connect() => Self::Unreachable(*error),
                Ok(error) => Self::OutcomeUnknown(error),
                Err(source) => Self::OutcomeUnknown(source),
            },
            error => Self::OutcomeUnknown(error.into()),
        }
    }
}

fn first_status(refusal: &Refusal) -> impl fmt::Display {
    refusal.first_status().map_or("with an unknown status".to_owned(), |status| status.to_string())
}

/// Escapes what a terminal may act on, and cuts the text to 200 characters.
fn excerpt(body: &str) -> impl fmt::Display {
    body.chars().take(200).flat_map(char::escape_debug).collect::<String>()
}
