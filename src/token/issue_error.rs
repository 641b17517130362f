//! The error of issuing.

use super::DataError;
use crate::{
    protocol::{BoxError, Rejection, RejectionKind},
    store::StoreError,
};

/// The error of issuing or renewing a token, or of issuing a grant.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// A limit on the number of sessions refuses the token.
    #[error("the owner has too many sessions: end one first")]
    TooManySessions,
    /// The session was renewed four times within one overlap. The token is live: use it, and renew it later.
    #[error("the session was renewed too often in a short time: use its newest token, and renew it later")]
    TooManyRenewals,
    /// The owner has too many grants.
    #[error("the owner has too many grants: end one first")]
    TooManyGrants,
    /// The session of a grant has ended.
    #[error("the session has ended, so it gets no grant: log in again")]
    SessionEnded,
    /// The session of a grant is of a one-time token, which is spent with its request.
    #[error(
        "a one-time token is spent with its request, so its session gets no grant: use a session of a user or an API token"
    )]
    OneTimeToken,
    /// The request is not one that a key of the app signed: a session key signed it, or it is a share link.
    #[error("the request was signed by a session key, or is a share link: only a key of the app may issue tokens")]
    NoAppKey,
    /// The data cannot be stored with a session.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The system has no random bytes.
    #[error("the system gave no random bytes for a token")]
    Random(#[source] BoxError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// For a handler: 429 for a limit, 401 for a session that has ended, 403 for a session key or a one-time token, 500 for data that cannot be stored, otherwise 503.
impl From<IssueError> for Rejection {
    fn from(error: IssueError) -> Self {
        match error {
            IssueError::TooManySessions => Self::too_many_sessions(),
            IssueError::TooManyRenewals => Self::new(
                RejectionKind::TooManySessions,
                "the session was renewed too often in a short time: use its newest token, and renew it later",
            ),
            IssueError::TooManyGrants => {
                Self::new(RejectionKind::TooManySessions, "the owner has too many grants of share links: end one first")
            }
            IssueError::SessionEnded => Self::invalid_token(),
            IssueError::OneTimeToken => Self::token_not_allowed(
                "a one-time token is spent with its request, so its session gets no grant: use another token",
            ),
            IssueError::NoAppKey => Self::key_not_allowed(),
            IssueError::Data(error) => {
                Self::new(RejectionKind::Misconfigured, "the session cannot be stored").with_source(error)
            }
            IssueError::Random(_) | IssueError::Store(_) => Self::unavailable(error),
        }
    }
}
