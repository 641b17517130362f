//! Issues, checks, renews and ends tokens.

use std::{fmt, sync::Arc, time::Duration};

use super::{Issued, NewToken, Session};
use crate::{
    clock::{Clock, SystemClock},
    protocol::{
        AppId, Token,
        token::{Owner, OwnerTag, RenewalSeed, TokenRef},
    },
    store::{
        StoreError, TokenStore,
        token::{
            contract::DynTokenStore,
            record::{
                EndReason, Found, Offer, Placed, Record, Renewed, Room, SessionId, SessionLimit, TokenKind, Touched,
                Which,
            },
        },
    },
};

/// Issues, checks, renews and ends the tokens of a service. Clones share the store.
///
/// ```
/// use countersign::{store::MemoryTokenStore, token::{NewToken, Tokens}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (tokens, app) = (Tokens::new(MemoryTokenStore::new()?), "demo".parse()?);
/// let issued = tokens.issue_for(&app, NewToken::for_user("u-17".parse()?)).await?;
/// let session = tokens.check(&app, issued.token()).await?.expect("a live token");
/// assert_eq!(session.user().map(|user| user.as_str()), Some("u-17"));
///
/// tokens.end(&session).await?;
/// assert!(tokens.check(&app, issued.token()).await?.is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct Tokens {
    store: Arc<dyn DynTokenStore>,
    clock: Arc<dyn Clock>,
    lifetime: Duration,
    session_lifetime: Duration,
    idle_timeout: Option<Duration>,
    overlap: Duration,
    limit: Option<SessionLimit>,
    max_sessions: usize,
    end_reasons: Duration,
    session_keys: bool,
}

/// The most tokens of an app itself.
const MAX_OF_APP: usize = 1000;

impl Tokens {
    /// Makes tokens over a store, with the system's clock.
    pub fn new(store: impl TokenStore) -> Self {
        Self {
            store: Arc::new(store),
            clock: Arc::new(SystemClock::new()),
            lifetime: Duration::from_secs(2 * 3600),
            session_lifetime: Duration::from_secs(14 * 24 * 3600),
            idle_timeout: None,
            overlap: Duration::from_secs(300),
            limit: None,
            max_sessions: 64,
            end_reasons: Duration::from_secs(3600),
            session_keys: false,
        }
    }

    /// Sets the lifetime of one token. Default: 2 hours.
    pub fn with_lifetime(self, lifetime: Duration) -> Self {
        Self { lifetime, ..self }
    }

    /// Sets the lifetime of a session over all renewals. Default: 14 days.
    pub fn with_session_lifetime(self, lifetime: Duration) -> Self {
        Self { session_lifetime: lifetime, ..self }
    }

    /// Ends sessions that are not used for this long. Default: off.
    ///
    /// The use of a session is stored at most once in an eighth of this time, and once a minute. So a session ends between
    /// this time and nine eighths of it after its last use.
    pub fn with_idle_timeout(self, timeout: Duration) -> Self {
        Self { idle_timeout: Some(timeout), ..self }
    }

    /// Sets how long the old token of a renewal stays live after the first use of its successor. Default: 300 s. Set it to
    /// at least the [deadline](crate::Limits::with_body_timeout) of a body, or a renewal rejects a slow upload.
    pub fn with_renewal_overlap(self, overlap: Duration) -> Self {
        Self { overlap, ..self }
    }

    /// Limits the sessions of one user in one app and on one kind of device. Default: none.
    ///
    /// It counts sessions of users, and no API, bearer or one-time tokens.
    pub fn with_limit(self, limit: SessionLimit) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Sets the most live tokens of all kinds that a user has in one app. Default: 64. An app itself has at most 1,000.
    pub fn with_max_sessions(self, max: usize) -> Self {
        Self { max_sessions: max, ..self }
    }

    /// Sets how long the reason of an end is remembered. Default: 1 hour. With 0 it is not remembered.
    ///
    /// Meanwhile the rejection of an ended token says whether the session was `replaced` or `revoked`.
    pub fn with_end_reasons(self, remember: Duration) -> Self {
        Self { end_reasons: remember, ..self }
    }

    /// Accepts requests that the key of a session signed. Default: off.
    ///
    /// A browser or a phone, which must not hold a key of the app, signs with the key of its session:
    /// [`Issued::session_key`]. The key ends with the token.
    pub fn with_session_keys(self) -> Self {
        Self { session_keys: true, ..self }
    }

    /// Sets the clock. Default: the system's clock.
    pub fn with_clock(self, clock: impl Clock) -> Self {
        Self { clock: Arc::new(clock), ..self }
    }
}

impl Tokens {
    /// Issues a token to an app. The caller of this method vouches for the app, for example because its login page belongs
    /// to it.
    ///
    /// # Errors
    ///
    /// A limit refuses the token, or the store failed.
    pub async fn issue_for(&self, app_id: &AppId, new: NewToken) -> Result<Issued, IssueError> {
        let now = self.now();
        let owner = new.user.map_or_else(|| Owner::App(app_id.clone()), Owner::User);
        let tag = self.store.owner_key().tag(&owner);
        let (random, id) = (random::<32>()?, SessionId::from_bytes(random::<16>()?));
        let token = Token::issued(&tag, &random);
        let session_expires_at = plus(now, self.session_lifetime).min(new.until.unwrap_or(u64::MAX));
        let is_idle_limited = matches!(new.kind, TokenKind::Session);
        let record = Record {
            id,
            app_id: app_id.clone(),
            kind: new.kind,
            device: new.device,
            issued_at: now,
            seen_at: now,
            expires_at: plus(now, new.lifetime.unwrap_or(self.lifetime)).min(session_expires_at),
            session_expires_at,
            idle_until: self.idle_end(now).filter(|_| is_idle_limited),
            data: new.data,
            owner,
        };
        let is_app = matches!(record.owner, Owner::App(_));
        let max = if is_app { MAX_OF_APP } else { self.max_sessions };
        let room = Room { limit: self.limit, max, remember: self.end_reasons.as_secs() };
        match self.store.put(&reference(&token)?, &record, room, now).await? {
            Placed::Done { .. } => Ok(Issued::new(token, Session::new(record), now)),
            Placed::Refused => Err(IssueError::TooManySessions),
        }
    }

    /// Finds the session of a token, if it is live and was issued to this app. Use it in services without a verifier.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn check(&self, app_id: &AppId, token: &Token) -> Result<Option<Session>, StoreError> {
        match self.find(app_id, token, self.now()).await? {
            Checked::Live { session, .. } => Ok(Some(session)),
            Checked::Invalid(_) => Ok(None),
        }
    }

    /// Renews the token of a session. Returns `None` if the token is not live, is accepted once, or was renewed too often.
    ///
    /// Everybody who renews the same token gets the same successor, however often a response is lost. The old token stays
    /// live until the [overlap](Self::with_renewal_overlap) after the first use of its successor.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn renew(&self, app_id: &AppId, token: &Token) -> Result<Option<Issued>, IssueError> {
        let now = self.now();
        let Checked::Live { session, at, .. } = self.find(app_id, token, now).await? else { return Ok(None) };
        let record = session.record();
        let seed = RenewalSeed::from_bytes(random()?);
        let offer = Offer {
            seed,
            successor: reference(&token.successor(at.owner(), &seed))?,
            record: Record {
                seen_at: now,
                expires_at: plus(now, self.lifetime).min(record.session_expires_at),
                idle_until: record.idle_until.and_then(|_| self.idle_end(now)),
                ..record.clone()
            },
            overlap: self.overlap.as_secs(),
        };
        match self.store.renew(&at, &offer, now).await? {
            Renewed::Kept { seed, record } => {
                Ok(Some(Issued::new(token.successor(at.owner(), &seed), Session::new(record), now)))
            }
            Renewed::NotLive | Renewed::TooOften => Ok(None),
        }
    }

    /// Returns the successor of a token that was renewed and is in its overlap. Renews nothing.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn renewed(&self, app_id: &AppId, token: &Token) -> Result<Option<Issued>, StoreError> {
        let now = self.now();
        let Checked::Live { at, seed: Some(seed), .. } = self.find(app_id, token, now).await? else { return Ok(None) };
        let successor = token.successor(at.owner(), &seed);
        Ok(match self.find(app_id, &successor, now).await? {
            Checked::Live { session, .. } => Some(Issued::new(successor, session, now)),
            Checked::Invalid(_) => None,
        })
    }

    /// Ends a session. Returns whether it was live.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn end(&self, session: &Session) -> Result<bool, StoreError> {
        Ok(self.end_of(session, Which::OneOf(session.app_id(), session.id())).await? > 0)
    }

    /// Ends the other sessions of the same owner in the same app. Returns how many. Use it after a password change.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn end_others(&self, session: &Session) -> Result<usize, StoreError> {
        self.end_of(session, Which::AllBut(session.app_id(), session.id())).await
    }

    /// Ends another session of the same owner in the same app, for example one from a [list](Self::siblings).
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn end_sibling(&self, session: &Session, id: SessionId) -> Result<bool, StoreError> {
        Ok(self.end_of(session, Which::OneOf(session.app_id(), id)).await? > 0)
    }

    /// Lists the live sessions of the same owner in the same app, this one included.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn siblings(&self, session: &Session) -> Result<Vec<Session>, StoreError> {
        let mut all = self.sessions(session.owner()).await?;
        all.retain(|other| other.app_id() == session.app_id());
        Ok(all)
    }

    /// Ends all sessions of an owner, in all apps. Returns how many. Each is rejected from the next request on, on all
    /// machines.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn end_all(&self, owner: &Owner) -> Result<usize, StoreError> {
        self.end_which(owner, Which::All).await
    }

    /// Ends all sessions of an owner in one app. Returns how many.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn end_all_of(&self, owner: &Owner, app_id: &AppId) -> Result<usize, StoreError> {
        self.end_which(owner, Which::AllOf(app_id)).await
    }

    /// Ends a session of an owner by its id, in any app. Returns whether it was live.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn end_by_id(&self, owner: &Owner, id: SessionId) -> Result<bool, StoreError> {
        Ok(self.end_which(owner, Which::One(id)).await? > 0)
    }

    /// Lists the live sessions of an owner, in all apps.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn sessions(&self, owner: &Owner) -> Result<Vec<Session>, StoreError> {
        let records = self.store.list(&self.store.owner_key().tag(owner), self.now()).await?;
        Ok(records.into_iter().map(Session::new).collect())
    }
}

/// The result of looking for a token.
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub(crate) enum Checked {
    Live {
        session: Session,
        at: TokenRef,
        seed: Option<RenewalSeed>,
        is_unused_successor: bool,
    },
    /// The reason is there if it is remembered, and the app matches.
    Invalid(Option<EndReason>),
}

impl Tokens {
    /// Finds a token that was issued to this app. It only reads.
    pub(crate) async fn find(&self, app_id: &AppId, token: &Token, now: u64) -> Result<Checked, StoreError> {
        let Some(at) = TokenRef::of(token) else { return Ok(Checked::Invalid(None)) };
        Ok(match self.store.find(&at, now).await? {
            Found::Live { record, seed, is_unused_successor } if record.app_id == *app_id => {
                Checked::Live { session: Session::new(record), at, seed, is_unused_successor }
            }
            Found::Ended { app_id: of, reason } if of == *app_id => Checked::Invalid(Some(reason)),
            _ => Checked::Invalid(None),
        })
    }

    /// Takes a token that is accepted once. Returns whether it was live.
    pub(crate) async fn take(&self, at: &TokenRef, now: u64) -> Result<bool, StoreError> {
        self.store.take(at, now).await
    }

    /// Records the use of a session, if it is due. Returns whether the session is live.
    pub(crate) async fn touch(
        &self,
        session: &Session,
        at: &TokenRef,
        is_unused_successor: bool,
        now: u64,
    ) -> Result<bool, StoreError> {
        let until = self.idle_end(now).filter(|_| session.record().idle_until.is_some());
        // The end that is stored is one interval later than the timeout.
        let is_due = until
            .zip(session.record().idle_until)
            .is_some_and(|(until, stored)| until >= stored.saturating_add(self.touch_interval()));
        if !is_due && !is_unused_successor {
            return Ok(true);
        }
        Ok(self.store.touch(at, now, until).await? == Touched::Done)
    }

    async fn end_of(&self, session: &Session, which: Which<'_>) -> Result<usize, StoreError> {
        self.end_which(session.owner(), which).await
    }

    async fn end_which(&self, owner: &Owner, which: Which<'_>) -> Result<usize, StoreError> {
        let tag: OwnerTag = self.store.owner_key().tag(owner);
        self.store.end(&tag, which, self.end_reasons.as_secs(), self.now()).await
    }

    pub(crate) fn takes_session_keys(&self) -> bool {
        self.session_keys
    }

    fn now(&self) -> u64 {
        self.clock.wall().as_secs()
    }

    /// The idle end that is stored: a session that is used is never ended early.
    fn idle_end(&self, now: u64) -> Option<u64> {
        self.idle_timeout.map(|timeout| plus(now, timeout).saturating_add(self.touch_interval()))
    }

    /// How long the use of a session is not stored again, in seconds.
    fn touch_interval(&self) -> u64 {
        self.idle_timeout.map_or(0, |timeout| (timeout.as_secs() / 8).max(60))
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens")
            .field("lifetime", &self.lifetime)
            .field("session_lifetime", &self.session_lifetime)
            .field("idle_timeout", &self.idle_timeout)
            .field("overlap", &self.overlap)
            .field("limit", &self.limit)
            .field("max_sessions", &self.max_sessions)
            .field("session_keys", &self.session_keys)
            .finish_non_exhaustive()
    }
}

/// The error of issuing or renewing a token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// A limit on the number of sessions refuses the token.
    #[error("the owner has too many sessions: end one first")]
    TooManySessions,
    /// The system has no random bytes.
    #[error("the system gave no random bytes for a token")]
    Random(#[source] crate::protocol::BoxError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn random<const N: usize>() -> Result<[u8; N], IssueError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| IssueError::Random(error.into()))?;
    Ok(bytes)
}

/// The reference of a token that this crate has made.
fn reference(token: &Token) -> Result<TokenRef, StoreError> {
    TokenRef::of(token).ok_or_else(|| StoreError::new("the text of a new token is malformed"))
}

fn plus(now: u64, duration: Duration) -> u64 {
    now.saturating_add(duration.as_secs())
}
