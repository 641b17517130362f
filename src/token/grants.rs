//! Issuing, finding, listing and ending grants.

use std::time::Duration;

use super::{Grant, GrantId, IssueError, IssuedGrant, Session, Tokens, random::random, tokens::plus};
use crate::{
    protocol::{
        AppId, GrantToken,
        token::{Owner, RecordKind, TokenRef},
    },
    store::{
        StoreError,
        token::record::{Found, Placed, Record, Room, SessionId, TokenKind, Which},
    },
};

impl Tokens {
    /// Issues a grant for share links, to the owner and the app of a session.
    ///
    /// A link with the grant is accepted until the grant ends: after `lifetime`, in whole seconds, or by
    /// [`end_grant`](Self::end_grant), or when [all sessions](Self::end_all) of the owner end. A logout ends no grant. Several
    /// links can have the same grant. The links must be signed by the session's app, and none can be presigned to expire after
    /// the grant.
    ///
    /// The session can be of a user, of an API token or of a bearer token. A request that a session key signed can get a grant
    /// too, because only the link itself needs a key of the app. A one-time token is spent with its request, so its session gets
    /// no grant.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use countersign::{store::MemoryTokenStore, token::{NewToken, Tokens}};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (tokens, app) = (Tokens::new(MemoryTokenStore::new()?), "demo".parse()?);
    /// let login = tokens.issue_for(&app, NewToken::for_user("u-17".parse()?)).await?;
    /// let issued = tokens.grant(login.session(), Duration::from_secs(24 * 3600)).await?;
    /// assert!(issued.token().expose().starts_with("cs1g_"));
    ///
    /// let owner = login.session().owner();
    /// assert_eq!(tokens.grants(owner).await?, [issued.grant().clone()]);
    /// assert!(tokens.end_grant(owner, issued.grant().id()).await?);
    /// assert!(tokens.grants(owner).await?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The session has ended or is of a one-time token, the owner has [too many](Self::with_max_grants) grants, the store
    /// failed, or the system has no random bytes.
    pub async fn grant(&self, session: &Session, lifetime: Duration) -> Result<IssuedGrant, IssueError> {
        if session.is_one_time() {
            return Err(IssueError::OneTimeToken);
        }
        let now = self.now();
        let tag = self.store.owner_key().tag(session.owner());
        let token = GrantToken::issued(&tag, &random()?).map_err(StoreError::new)?;
        let expires_at = plus(now, lifetime);
        let record = Record {
            id: SessionId::from_bytes(random()?),
            owner: session.owner().clone(),
            app_id: session.app_id().clone(),
            kind: TokenKind::Grant,
            device: None,
            issued_at: now,
            seen_at: now,
            expires_at,
            session_expires_at: expires_at,
            idle_until: None,
            data: None,
        };
        let room = Room::new(Self::max_of(session.owner(), self.max_grants));
        if self.store.put(&TokenRef::of_grant(&token), &record, room, now).await? == Placed::Refused {
            return Err(IssueError::TooManyGrants);
        }
        // An end of all sessions ends the sessions first and the grants second. If the session is live now, that end has not
        // looked for grants yet, and finds this one.
        match self.has_session(session).await {
            Ok(true) => Ok(IssuedGrant::new(token, Grant::new(record), now)),
            gone => {
                let which = Which::OneOf(&record.app_id, record.id);
                self.end_which(&record.owner, RecordKind::Grant, which).await?;
                gone?;
                Err(IssueError::SessionEnded)
            }
        }
    }

    /// Ends a grant of an owner by its id, in any app. Returns whether it was live. The next request with a link of this grant
    /// is rejected, on all machines.
    ///
    /// # Errors
    ///
    /// The store failed. The grant may be live or ended: call this again.
    pub async fn end_grant(&self, owner: &Owner, id: GrantId) -> Result<bool, StoreError> {
        Ok(self.end_which(owner, RecordKind::Grant, Which::One(id.record_id())).await? > 0)
    }

    /// Returns the live grants of an owner in all apps, in the order in which they were issued. They contain no text of a grant.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn grants(&self, owner: &Owner) -> Result<Vec<Grant>, StoreError> {
        Ok(self.records(owner, RecordKind::Grant).await?.into_iter().map(Grant::new).collect())
    }

    /// Finds a grant that was issued to this app. It only reads.
    pub(crate) async fn find_grant(
        &self,
        app_id: &AppId,
        grant: &GrantToken,
        now: u64,
    ) -> Result<Option<Grant>, StoreError> {
        Ok(match self.find_record(&TokenRef::of_grant(grant), now).await? {
            Found::Live { record, .. } if record.app_id == *app_id && record.kind == TokenKind::Grant => {
                Some(Grant::new(record))
            }
            _ => None,
        })
    }

    async fn has_session(&self, session: &Session) -> Result<bool, StoreError> {
        let live = self.records(session.owner(), RecordKind::Session).await?;
        Ok(live.iter().any(|other| other.id == session.id()))
    }
}
