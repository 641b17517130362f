//! Issuing and renewing tokens for the verified caller of a request.

use serde::Serialize;

use crate::{
    protocol::SignedBy,
    server::caller::Caller,
    store::StoreError,
    token::{IssueError, Issued, NewToken, Tokens},
};

impl Tokens {
    /// Issues a token to the app that signed a request.
    ///
    /// # Errors
    ///
    /// A session key signed the request, a limit refuses the token, or the store failed.
    pub async fn issue(&self, caller: &Caller, new: NewToken) -> Result<Issued, IssueError> {
        match caller.signed_by() {
            SignedBy::AppKey => self.issue_for(caller.app_id(), new).await,
            SignedBy::SessionKey => Err(IssueError::SessionKey),
        }
    }

    /// Renews the token of a request. Returns `None` if the request has no checked token, or if it is not live any more, is
    /// accepted once, or was renewed too often.
    ///
    /// Everybody who renews the same token gets the same successor, however often a response is lost. The old token stays
    /// live until the [overlap](Self::with_renewal_overlap) after the first use of its successor. A renewed session key is
    /// derived from the successor: [`Issued::session_key`].
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn renew(&self, caller: &Caller) -> Result<Option<Issued>, IssueError> {
        match caller.session().and(caller.token()) {
            Some(token) => self.renew_for(caller.app_id(), token).await,
            None => Ok(None),
        }
    }

    /// Renews the token of a request like [`renew`](Self::renew), and replaces the data of the session. The first renewal
    /// of a token decides on the data.
    ///
    /// # Errors
    ///
    /// The data is no JSON or is too long, or the store failed.
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

    /// Returns the successor of the request's token, if it was renewed. Renews nothing.
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
