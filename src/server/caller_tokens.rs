//! Issuing and renewing tokens for the verified caller of a request.

use serde::Serialize;

use crate::{
    protocol::SignedBy,
    server::caller::Caller,
    store::StoreError,
    token::{IssueError, Issued, NewToken, Tokens},
};

impl Tokens {
    /// Issues a token to the app that signed a request. The request must be signed by a key of the app.
    ///
    /// # Errors
    ///
    /// A session key signed the request, the caller opened a share link, a limit refuses the token, the store failed, or the
    /// system has no random bytes.
    pub async fn issue(&self, caller: &Caller, new: NewToken) -> Result<Issued, IssueError> {
        match (caller.signed_by(), caller.link()) {
            (SignedBy::AppKey, None) => self.issue_for(caller.app_id(), new).await,
            _ => Err(IssueError::NoAppKey),
        }
    }

    /// Renews the token of a request. Returns `None` if the request has no checked token, or if the token is not live any more
    /// or is a one-time token.
    ///
    /// All renewals of a token return the same successor, even if they race or if a response is lost. The old token stays
    /// live until the [overlap](Self::with_renewal_overlap) after the first use of its successor is over, but never beyond
    /// its own end. The successor has another session key: [`Issued::session_key`].
    ///
    /// # Errors
    ///
    /// The session was already renewed four times within one overlap, or the store failed.
    pub async fn renew(&self, caller: &Caller) -> Result<Option<Issued>, IssueError> {
        match caller.session().and(caller.token()) {
            Some(token) => self.renew_for(caller.app_id(), token).await,
            None => Ok(None),
        }
    }

    /// Renews the token of a request like [`renew`](Self::renew), and replaces the data of the session. If the token was
    /// already renewed, the data of that renewal stays.
    ///
    /// # Errors
    ///
    /// The data cannot be written as JSON or has more than 2,048 bytes, the session was already renewed four times within one
    /// overlap, or the store failed.
    pub async fn renew_with_data<T: Serialize + ?Sized>(
        &self,
        caller: &Caller,
        data: &T,
    ) -> Result<Option<Issued>, IssueError> {
        match caller.session().and(caller.token()) {
            Some(token) => self.renew_with(caller.app_id(), token, Some(crate::token::json(data)?)).await,
            None => Ok(None),
        }
    }

    /// Returns the successor of the request's token, if the token was renewed. It renews nothing. A browser that renews in two
    /// calls gets its new cookie from the second one.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn renewed(&self, caller: &Caller) -> Result<Option<Issued>, StoreError> {
        match caller.session().and(caller.token()) {
            Some(token) => self.renewed_for(caller.app_id(), token).await,
            None => Ok(None),
        }
    }
}
