//! Issuing and renewing tokens.

use std::sync::Arc;

use super::{Found, IssueError, Issued, NewToken, Session, Tokens, random::random, tokens::plus};
use crate::{
    protocol::{
        AppId, Token,
        token::{Owner, RenewalSeed, TokenRef},
    },
    store::{
        StoreError,
        token::record::{Offer, Placed, Record, Renewed, Room, SessionId, TokenKind},
    },
};

impl Tokens {
    /// Issues a token to an app, without a signed request: for example for a login page.
    ///
    /// This method checks nothing. The service decides to which app and which user it issues the token. For signed requests,
    /// use [`issue`](Self::issue).
    ///
    /// # Errors
    ///
    /// A limit refuses the token, the store failed, or the system has no random bytes.
    pub async fn issue_for(&self, app_id: &AppId, new: NewToken) -> Result<Issued, IssueError> {
        let now = self.now();
        let owner = new.user.map_or_else(|| Owner::App(app_id.clone()), Owner::User);
        let tag = self.store.owner_key().tag(&owner);
        let (random, id) = (random::<32>()?, SessionId::from_bytes(random::<16>()?));
        let token = Token::issued(&tag, &random);
        let lifetime = new.lifetime.unwrap_or(self.lifetime);
        // A token with a longer lifetime of its own has a longer session.
        let session_expires_at = new.until.unwrap_or_else(|| plus(now, self.session_lifetime.max(lifetime)));
        let is_idle_limited = matches!(new.kind, TokenKind::Session);
        let record = Record {
            id,
            app_id: app_id.clone(),
            kind: new.kind,
            device: new.device,
            issued_at: now,
            seen_at: now,
            expires_at: plus(now, lifetime).min(session_expires_at),
            session_expires_at,
            idle_until: self.idle_end(now).filter(|_| is_idle_limited),
            data: new.data,
            owner,
        };
        let max = Self::max_of(&record.owner, self.max_sessions);
        let room = Room { limit: self.limit, max, remember: self.remember(&record.owner) };
        match self.store.put(&reference(&token)?, &record, room, now).await? {
            Placed::Done { .. } => Ok(Issued::new(token, Session::new(record), now)),
            Placed::Refused => Err(IssueError::TooManySessions),
        }
    }

    /// Renews the token of a session. Returns `None` if the token is not live, or is a one-time token.
    ///
    /// All renewals of a token return the same successor, even if they race or if a response is lost. The old token stays
    /// live until the [overlap](Self::with_renewal_overlap) after the first use of its successor is over, but never beyond
    /// its own end.
    ///
    /// A handler behind a verifier calls [`renew`](Self::renew). Use this method in services without one.
    ///
    /// # Errors
    ///
    /// The session was already renewed four times within one overlap, or the store failed.
    pub async fn renew_for(&self, app_id: &AppId, token: &Token) -> Result<Option<Issued>, IssueError> {
        self.renew_with(app_id, token, None).await
    }

    /// Renews a token, and replaces the data of its session if there is any.
    pub(crate) async fn renew_with(
        &self,
        app_id: &AppId,
        token: &Token,
        data: Option<Arc<str>>,
    ) -> Result<Option<Issued>, IssueError> {
        let now = self.now();
        let Found::Live(live) = self.find(app_id, token, now).await? else { return Ok(None) };
        let Some(at) = TokenRef::of(token) else { return Ok(None) };
        let record = live.session.record();
        let seed = RenewalSeed::from_bytes(random()?);
        let offer = Offer {
            seed,
            successor: reference(&token.successor(at.owner(), &seed))?,
            record: Record {
                seen_at: now,
                // A renewal ends no later token early.
                expires_at: plus(now, self.lifetime).max(record.expires_at).min(record.session_expires_at),
                idle_until: record.idle_until.and_then(|_| self.idle_end(now)),
                data: data.or_else(|| record.data.clone()),
                ..record.clone()
            },
            overlap: self.overlap.as_secs(),
        };
        match self.store.renew(&at, &offer, now).await? {
            Renewed::Kept { seed, record } => {
                Ok(Some(Issued::new(token.successor(at.owner(), &seed), Session::new(record), now)))
            }
            Renewed::NotLive => Ok(None),
            Renewed::TooOften => Err(IssueError::TooManyRenewals),
        }
    }

    /// Returns the successor of a token that was renewed and is still live. Renews nothing.
    ///
    /// A handler behind a verifier calls [`renewed`](Self::renewed). Use this method in services without one.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn renewed_for(&self, app_id: &AppId, token: &Token) -> Result<Option<Issued>, StoreError> {
        let now = self.now();
        let Found::Live(live) = self.find(app_id, token, now).await? else { return Ok(None) };
        let Some(seed) = live.seed else { return Ok(None) };
        let Some(at) = TokenRef::of(token) else { return Ok(None) };
        let successor = token.successor(at.owner(), &seed);
        Ok(match self.find(app_id, &successor, now).await? {
            Found::Live(live) => Some(Issued::new(successor, live.session, now)),
            Found::Invalid(_) => None,
        })
    }
}

/// The reference of a token that this crate has made.
fn reference(token: &Token) -> Result<TokenRef, StoreError> {
    TokenRef::of(token).ok_or_else(|| StoreError::new("the text of a new token is malformed"))
}
