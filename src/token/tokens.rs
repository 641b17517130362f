//! The configuration of tokens.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    clock::{Clock, SystemClock},
    protocol::token::Owner,
    store::{
        TokenStore,
        token::{contract::DynTokenStore, record::SessionLimit},
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
    pub(super) store: Arc<dyn DynTokenStore>,
    clock: Arc<dyn Clock>,
    pub(super) lifetime: Duration,
    pub(super) session_lifetime: Duration,
    idle_timeout: Option<Duration>,
    pub(super) overlap: Duration,
    pub(super) limit: Option<SessionLimit>,
    pub(super) max_sessions: usize,
    pub(super) max_grants: usize,
    pub(super) end_reasons: Duration,
    session_keys: bool,
}

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
            max_grants: 256,
            end_reasons: Duration::from_secs(3600),
            session_keys: false,
        }
    }

    /// Sets the lifetime of one token, in whole seconds. Default: 2 hours. A token never outlives its
    /// [session](Self::with_session_lifetime). A renewal uses the lifetime of the `Tokens` that renews.
    pub fn with_lifetime(self, lifetime: Duration) -> Self {
        Self { lifetime, ..self }
    }

    /// Sets the lifetime of a session over all renewals. Default: 14 days. It applies to all kinds of tokens.
    ///
    /// [`NewToken::with_lifetime`](super::NewToken::with_lifetime) and [`NewToken::until`](super::NewToken::until) can give a
    /// single session another end.
    pub fn with_session_lifetime(self, lifetime: Duration) -> Self {
        Self { session_lifetime: lifetime, ..self }
    }

    /// Ends sessions of users that are not used for this long. Default: off. API, one-time and bearer tokens have no idle
    /// timeout.
    ///
    /// The use of a session is stored at most once in an interval, which is an eighth of this time and at least a minute. So
    /// a session ends between this time and this time plus the interval after its last use. It never ends earlier.
    pub fn with_idle_timeout(self, timeout: Duration) -> Self {
        Self { idle_timeout: Some(timeout), ..self }
    }

    /// Sets how long the old token of a renewal stays live after the first use of its successor. Default: 300 s.
    ///
    /// Set it to at least the [deadline](crate::Limits::with_body_timeout) of a body. The verifier checks the token again
    /// after a slow upload, and rejects the upload if the overlap is over.
    pub fn with_renewal_overlap(self, overlap: Duration) -> Self {
        Self { overlap, ..self }
    }

    /// Limits the sessions of one user in one app and on one kind of device. Default: no limit.
    ///
    /// API, bearer and one-time tokens do not count.
    pub fn with_limit(self, limit: SessionLimit) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Sets the maximum number of live tokens of all kinds that a user has in one app. Default: 64. Another token is refused
    /// with [`TooManySessions`](super::IssueError::TooManySessions). The maximum for API tokens of one app is always 1,000.
    pub fn with_max_sessions(self, max: usize) -> Self {
        Self { max_sessions: max, ..self }
    }

    /// Sets the maximum number of live [grants](super::Grant) that a user has in one app. Default: 256. Another grant is refused
    /// with [`TooManyGrants`](super::IssueError::TooManyGrants). The maximum for grants of an app itself is always 1,000.
    pub fn with_max_grants(self, max: usize) -> Self {
        Self { max_grants: max, ..self }
    }

    /// Sets how long the reason of an end is remembered. Default: 1 hour. With 0, it is not remembered.
    ///
    /// During this time, the rejection of an ended token says whether the session was `replaced` or `revoked`. An expired
    /// token and an API token have no reason.
    pub fn with_end_reasons(self, remember: Duration) -> Self {
        Self { end_reasons: remember, ..self }
    }

    /// Accepts requests that the key of a session signed. Default: off.
    ///
    /// A browser or a phone must not hold a key of the app. It signs with the key of its session instead:
    /// [`Issued::session_key`](super::Issued::session_key). This key is valid for as long as the token.
    pub fn with_session_keys(self) -> Self {
        Self { session_keys: true, ..self }
    }

    /// Sets the clock. Default: the system's clock. In tests, give the verifier the same clock.
    pub fn with_clock(self, clock: impl Clock) -> Self {
        Self { clock: Arc::new(clock), ..self }
    }
}

/// The most tokens, and the most grants, of an app itself.
const MAX_OF_APP: usize = 1000;

impl Tokens {
    /// The most tokens or grants of an owner in one app, of which a user has at most `max_of_user`.
    pub(super) fn max_of(owner: &Owner, max_of_user: usize) -> usize {
        match owner {
            Owner::User(_) => max_of_user,
            Owner::App(_) => MAX_OF_APP,
        }
    }

    /// How long the reason of an end is remembered, in seconds. That of an API token is not: it would take the place of a live
    /// token among the many of an app.
    pub(super) fn remember(&self, owner: &Owner) -> u64 {
        match owner {
            Owner::User(_) => self.end_reasons.as_secs(),
            Owner::App(_) => 0,
        }
    }

    pub(crate) fn takes_session_keys(&self) -> bool {
        self.session_keys
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock.wall().as_secs()
    }

    /// The idle end that is stored: a session that is used is never ended early.
    pub(super) fn idle_end(&self, now: u64) -> Option<u64> {
        self.idle_timeout.map(|timeout| plus(now, timeout).saturating_add(self.touch_interval()))
    }

    /// How long the use of a session is not stored again, in seconds.
    pub(super) fn touch_interval(&self) -> u64 {
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
            .field("max_grants", &self.max_grants)
            .field("session_keys", &self.session_keys)
            .finish_non_exhaustive()
    }
}

pub(super) fn plus(now: u64, duration: Duration) -> u64 {
    now.saturating_add(duration.as_secs())
}
