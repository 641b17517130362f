//! Ending and listing sessions.

use super::{Session, Tokens};
use crate::{
    protocol::{
        AppId,
        token::{Owner, RecordKind},
    },
    store::{
        StoreError,
        token::record::{Record, SessionId, Which},
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

    /// Ends all sessions and [grants](super::Grant) of an owner in all apps, for administrators. Returns how many sessions it
    /// has ended. The next request with one of their tokens, or with a link of one of the grants, is rejected, on all machines.
    ///
    /// # Errors
    ///
    /// The store failed. The sessions and grants may be live or ended: call this again.
    pub async fn end_all(&self, owner: &Owner) -> Result<usize, StoreError> {
        self.end_with_grants(owner, Which::All).await
    }

    /// Ends all sessions and [grants](super::Grant) of an owner in one app. Returns how many sessions it has ended.
    ///
    /// # Errors
    ///
    /// The store failed. The sessions and grants may be live or ended: call this again.
    pub async fn end_all_of(&self, owner: &Owner, app_id: &AppId) -> Result<usize, StoreError> {
        self.end_with_grants(owner, Which::AllOf(app_id)).await
    }

    /// Ends a session of an owner by its id, in any app. Returns whether it was live.
    ///
    /// # Errors
    ///
    /// The store failed. The sessions may be live or ended: call this again.
    pub async fn end_by_id(&self, owner: &Owner, id: SessionId) -> Result<bool, StoreError> {
        Ok(self.end_which(owner, RecordKind::Session, Which::One(id)).await? > 0)
    }

    /// Returns the live sessions of an owner in all apps. They contain no token.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn sessions(&self, owner: &Owner) -> Result<Vec<Session>, StoreError> {
        Ok(self.records(owner, RecordKind::Session).await?.into_iter().map(Session::new).collect())
    }

    /// The live records of an owner.
    pub(super) async fn records(&self, owner: &Owner, kind: RecordKind) -> Result<Vec<Record>, StoreError> {
        self.store.list(&self.store.owner_key().tag(owner), kind, self.now()).await
    }

    async fn end_of(&self, session: &Session, which: Which<'_>) -> Result<usize, StoreError> {
        self.end_which(session.owner(), RecordKind::Session, which).await
    }

    /// Ends sessions first and grants second: a new grant is ended by this, or by its issuer that finds no session.
    async fn end_with_grants(&self, owner: &Owner, which: Which<'_>) -> Result<usize, StoreError> {
        let ended = self.end_which(owner, RecordKind::Session, which).await?;
        self.end_which(owner, RecordKind::Grant, which).await?;
        Ok(ended)
    }

    pub(super) async fn end_which(
        &self,
        owner: &Owner,
        kind: RecordKind,
        which: Which<'_>,
    ) -> Result<usize, StoreError> {
        let tag = self.store.owner_key().tag(owner);
        // A rejected link says no reason, so that of a grant is not remembered.
        let remember = match kind {
            RecordKind::Session => self.remember(owner),
            RecordKind::Grant => 0,
        };
        self.store.end(&tag, kind, which, remember, self.now()).await
    }
}
