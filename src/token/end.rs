//! Ending and listing sessions.

use super::{Session, Tokens};
use crate::{
    protocol::{AppId, token::Owner},
    store::{
        StoreError,
        token::record::{SessionId, Which},
    },
};

impl Tokens {
    /// Ends a session, for a logout. Returns whether it was live. The next request with its token is rejected, on all
    /// machines.
    ///
    /// # Errors
    ///
    /// The store failed. The sessions may be live or ended: call this again.
    pub async fn end(&self, session: &Session) -> Result<bool, StoreError> {
        Ok(self.end_of(session, Which::OneOf(session.app_id(), session.id())).await? > 0)
    }

    /// Ends all other sessions of the same owner in the same app, for example after a password change. Returns how many it
    /// has ended.
    ///
    /// # Errors
    ///
    /// The store failed. The sessions may be live or ended: call this again.
    pub async fn end_others(&self, session: &Session) -> Result<usize, StoreError> {
        self.end_of(session, Which::AllBut(session.app_id(), session.id())).await
    }

    /// Ends another session of the same owner in the same app, for example one from a [list](Self::siblings). Returns whether
    /// it was live. A session of another app is not ended.
    ///
    /// # Errors
    ///
    /// The store failed. The sessions may be live or ended: call this again.
    pub async fn end_sibling(&self, session: &Session, id: SessionId) -> Result<bool, StoreError> {
        Ok(self.end_of(session, Which::OneOf(session.app_id(), id)).await? > 0)
    }

    /// Returns the live sessions of the same owner in the same app, this one included.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn siblings(&self, session: &Session) -> Result<Vec<Session>, StoreError> {
        let mut all = self.sessions(session.owner()).await?;
        all.retain(|other| other.app_id() == session.app_id());
        Ok(all)
    }

    /// Ends all sessions of an owner in all apps, for administrators. Returns how many it has ended. The next request with one
    /// of their tokens is rejected, on all machines.
    ///
    /// # Errors
    ///
    /// The store failed. The sessions may be live or ended: call this again.
    pub async fn end_all(&self, owner: &Owner) -> Result<usize, StoreError> {
        self.end_which(owner, Which::All).await
    }

    /// Ends all sessions of an owner in one app. Returns how many it has ended.
    ///
    /// # Errors
    ///
    /// The store failed. The sessions may be live or ended: call this again.
    pub async fn end_all_of(&self, owner: &Owner, app_id: &AppId) -> Result<usize, StoreError> {
        self.end_which(owner, Which::AllOf(app_id)).await
    }

    /// Ends a session of an owner by its id, in any app. Returns whether it was live.
    ///
    /// # Errors
    ///
    /// The store failed. The sessions may be live or ended: call this again.
    pub async fn end_by_id(&self, owner: &Owner, id: SessionId) -> Result<bool, StoreError> {
        Ok(self.end_which(owner, Which::One(id)).await? > 0)
    }

    /// Returns the live sessions of an owner in all apps. They contain no token.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn sessions(&self, owner: &Owner) -> Result<Vec<Session>, StoreError> {
        let records = self.store.list(&self.store.owner_key().tag(owner), self.now()).await?;
        Ok(records.into_iter().map(Session::new).collect())
    }

    async fn end_of(&self, session: &Session, which: Which<'_>) -> Result<usize, StoreError> {
        self.end_which(session.owner(), which).await
    }

    async fn end_which(&self, owner: &Owner, which: Which<'_>) -> Result<usize, StoreError> {
        let tag = self.store.owner_key().tag(owner);
        self.store.end(&tag, which, self.remember(owner), self.now()).await
    }
}
