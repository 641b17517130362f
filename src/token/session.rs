//! The session behind a token.

use std::{fmt, sync::Arc};

use serde::de::DeserializeOwned;

#[cfg(feature = "test-util")]
use super::NewToken;
use crate::{
    protocol::{
        AppId,
        token::{Device, Owner, Subject},
    },
    store::token::record::{Record, SessionId, TokenKind},
};

/// The session that a token belongs to.
///
/// All times are Unix seconds.
#[derive(Clone, PartialEq, Eq)]
pub struct Session(Arc<Record>);

impl Session {
    pub(crate) fn new(record: impl Into<Arc<Record>>) -> Self {
        Self(record.into())
    }

    /// Makes a session for tests of handlers. No store has it, and it never ends.
    ///
    /// ```
    /// # use countersign::{Caller, token::{NewToken, Session}};
    /// let session = Session::for_test("demo".parse()?, NewToken::for_user("u-17".parse()?));
    /// let caller = Caller::for_test("demo".parse()?).with_test_session(session);
    /// assert_eq!(caller.user().map(|user| user.as_str()), Some("u-17"));
    /// # Ok::<(), countersign::FieldError>(())
    /// ```
    #[cfg(feature = "test-util")]
    #[cfg_attr(docsrs, doc(cfg(feature = "test-util")))]
    #[must_use]
    pub fn for_test(app_id: AppId, new: NewToken) -> Self {
        Self::new(Record {
            id: SessionId::from_bytes([0; 16]),
            owner: new.user.map_or_else(|| Owner::App(app_id.clone()), Owner::User),
            app_id,
            kind: new.kind,
            device: new.device,
            issued_at: 0,
            seen_at: 0,
            expires_at: u64::MAX,
            session_expires_at: u64::MAX,
            idle_until: None,
            data: new.data,
        })
    }

    /// The public id. It stays the same when the token is renewed, and it is no secret.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.0.id
    }

    /// The app that the token was issued to.
    #[must_use]
    pub fn app_id(&self) -> &AppId {
        &self.0.app_id
    }

    /// The owner: a user, or the app itself.
    #[must_use]
    pub fn owner(&self) -> &Owner {
        &self.0.owner
    }

    /// The user, if a user is the owner.
    #[must_use]
    pub fn user(&self) -> Option<&Subject> {
        match &self.0.owner {
            Owner::User(user) => Some(user),
            Owner::App(_) => None,
        }
    }

    /// What the token is for.
    #[must_use]
    pub fn kind(&self) -> TokenKind {
        self.0.kind
    }

    /// The kind of device, if there is one.
    #[must_use]
    pub fn device(&self) -> Option<&Device> {
        self.0.device.as_ref()
    }

    /// When the session was issued.
    #[must_use]
    pub fn issued_at(&self) -> u64 {
        self.0.issued_at
    }

    /// When the session was last used. It changes only with an [idle timeout](super::Tokens::with_idle_timeout), and lags by
    /// up to an eighth of it, or by up to a minute if that is longer.
    #[must_use]
    pub fn seen_at(&self) -> u64 {
        self.0.seen_at
    }

    /// The end of the token, without the idle timeout. Renew the token before.
    #[must_use]
    pub fn expires_at(&self) -> u64 {
        self.0.expires_at.min(self.0.session_expires_at)
    }

    /// The end of the session, over all renewals.
    #[must_use]
    pub fn session_expires_at(&self) -> u64 {
        self.0.session_expires_at
    }

    /// Whether the token is accepted once.
    #[must_use]
    pub fn is_one_time(&self) -> bool {
        self.0.kind == TokenKind::OneTime
    }

    /// Parses the data that the service stored when it issued or renewed the token. Returns `None` if there is no data, or if
    /// it does not match the type.
    #[must_use]
    pub fn data<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(self.0.data.as_deref()?).ok()
    }

    pub(crate) fn record(&self) -> &Record {
        &self.0
    }
}

/// A session that a user owns. With the feature `axum` it is an extractor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSession {
    user: Subject,
    session: Session,
}

impl UserSession {
    /// Returns `None` if no user owns the session.
    #[must_use]
    pub fn new(session: Session) -> Option<Self> {
        session.user().cloned().map(|user| Self { user, session })
    }

    /// The user.
    #[must_use]
    pub fn user(&self) -> &Subject {
        &self.user
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }
}

/// A session that an app itself owns: the session of an API token. With the feature `axum` it is an extractor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiSession(Session);

impl ApiSession {
    /// Returns `None` if a user owns the session.
    #[must_use]
    pub fn new(session: Session) -> Option<Self> {
        session.user().is_none().then_some(Self(session))
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.0
    }
}

/// Shows no data.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id())
            .field("owner", self.owner())
            .field("app_id", self.app_id())
            .field("kind", &self.kind())
            .field("device", &self.device())
            .field("expires_at", &self.expires_at())
            .finish_non_exhaustive()
    }
}
