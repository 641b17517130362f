//! What a store keeps of a token.

use std::{fmt, str::FromStr, sync::Arc};

use base64ct::{Base64UrlUnpadded, Encoding};

use crate::protocol::{
    AppId,
    token::{Device, Owner, RenewalSeed, TokenRef},
};

/// The public id of a session: 22 characters of base64url, from 128 random bits. It stays the same when the token is
/// renewed, and it is no secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId([u8; 16]);

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TokenKind {
    /// A session of a user. Limits count it.
    Session,
    /// An API token, which belongs to the app itself.
    Api,
    /// A one-time token, which is accepted with one request.
    OneTime,
    /// A token for routes without a signature. Routes with a signature do not accept it.
    Bearer,
    /// No token, but a grant of share links. No request is accepted with it in the place of a token.
    Grant,
}

/// A record of a token or a grant. All times are Unix seconds, and each end is exclusive: the token is live while `now < end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The id of the session or the grant.
    pub id: SessionId,
    /// The owner, whose tag is in the token or the grant.
    pub owner: Owner,
    /// The app that the token or the grant was issued to.
    pub app_id: AppId,
    /// What the token is for.
    pub kind: TokenKind,
    /// The kind of device, if there is one. Limits count each kind separately.
    pub device: Option<Device>,
    /// When the session or the grant was issued.
    pub issued_at: u64,
    /// The last use of the session that was recorded.
    pub seen_at: u64,
    /// The end of this token.
    pub expires_at: u64,
    /// The end of the session, over all renewals.
    pub session_expires_at: u64,
    /// The end of the session if it is not used before. `None` without an idle timeout.
    pub idle_until: Option<u64>,
    /// Data of the service, as JSON of at most 2 KiB.
    pub data: Option<Arc<str>>,
}

/// The answer of [`TokenStore::find`](crate::store::TokenStore::find).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Found {
    /// The token is live.
    Live {
        /// The record. It is shared, because a request keeps it.
        record: Arc<Record>,
        /// The seed of the successor, if the token was renewed and is in its overlap.
        seed: Option<RenewalSeed>,
        /// Whether this is a successor that was never used.
        is_unused_successor: bool,
    },
    /// The token was ended, and the reason is still remembered.
    Ended {
        /// The app that the token was issued to. The reason is for this app alone.
        app_id: AppId,
        /// The reason.
        reason: EndReason,
    },
    /// There is no such token, or it has expired.
    Unknown,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// A newer login took its place.
    Replaced,
    /// It was ended on purpose, by a logout or by an administrator.
    Revoked,
}

/// The limits that a new token or grant must meet, together with the live ones of its owner.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Room {
    /// The limit on plain sessions of the same app and kind of device.
    pub limit: Option<SessionLimit>,
    /// The limit on live tokens of all kinds, or on live grants, of the same app.
    pub max: usize,
    /// How long the reason of an end is remembered, in seconds.
    pub remember: u64,
}

impl Room {
    /// Makes room for at most `max` live tokens of all kinds, of the same app. Without a limit on plain sessions, and without
    /// reasons that are remembered.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { limit: None, max, remember: 0 }
    }

    /// Limits the plain sessions of the same app and kind of device.
    #[must_use]
    pub fn with_limit(self, limit: SessionLimit) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Sets how long the reason of an end is remembered, in seconds.
    #[must_use]
    pub fn with_remembered_reasons(self, seconds: u64) -> Self {
        Self { remember: seconds, ..self }
    }
}

/// A limit on the sessions of one user, in one app and on one kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionLimit {
    /// At most this many sessions, and at least one. A new session ends the oldest.
    NewestWins(usize),
    /// At most this many sessions. A further one is refused.
    Refuse(usize),
}

/// The answer of [`TokenStore::put`](crate::store::TokenStore::put).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Placed {
    /// The token is stored.
    Done {
        /// The number of sessions that the limit has ended.
        ended: usize,
    },
    /// A limit refuses the token. Nothing has changed.
    Refused,
}

/// The answer of [`TokenStore::touch`](crate::store::TokenStore::touch).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touched {
    /// The token is live.
    Done,
    /// The token has ended.
    Gone,
}

/// A renewal that is offered to [`TokenStore::renew`](crate::store::TokenStore::renew). The store keeps the first offer.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Random bytes, from which the successor is made.
    pub seed: RenewalSeed,
    /// The successor that follows from the seed.
    pub successor: TokenRef,
    /// The record of the successor.
    pub record: Record,
    /// How long the old token stays live after the first use of its successor, in seconds.
    pub overlap: u64,
}

/// The answer of [`TokenStore::renew`](crate::store::TokenStore::renew).
#[derive(Clone, Debug)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub enum Renewed {
    /// The token is renewed. Everybody who renews it gets this seed and this record.
    Kept {
        /// The seed of the offer that was first.
        seed: RenewalSeed,
        /// The record of the successor.
        record: Record,
    },
    /// The token is not live, or is accepted once.
    NotLive,
    /// The session was renewed four times within one overlap.
    TooOften,
}

/// Which sessions or grants of an owner [`TokenStore::end`](crate::store::TokenStore::end) ends.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Which<'a> {
    /// The session or the grant with this id.
    One(SessionId),
    /// The one with this id, if it is of this app.
    OneOf(&'a AppId, SessionId),
    /// All of this app but the one with this id.
    AllBut(&'a AppId, SessionId),
    /// All of this app.
    AllOf(&'a AppId),
    /// All.
    All,
}

impl Record {
    /// The end of the token: its own, that of the session, or the idle end, whichever is first.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.expires_at.min(self.session_expires_at).min(self.idle_until.unwrap_or(u64::MAX))
    }

    /// Whether the token is live at this second.
    #[must_use]
    pub fn is_live(&self, now: u64) -> bool {
        now < self.end()
    }

    /// Whether limits count the token.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.kind == TokenKind::Session
    }
}

impl Which<'_> {
    /// Whether this selects a record.
    #[must_use]
    pub fn selects(&self, record: &Record) -> bool {
        match self {
            Self::One(id) => record.id == *id,
            Self::OneOf(app, id) => record.app_id == **app && record.id == *id,
            Self::AllBut(app, id) => record.app_id == **app && record.id != *id,
            Self::AllOf(app) => record.app_id == **app,
            Self::All => true,
        }
    }
}

impl EndReason {
    /// The reason as a word: `replaced` or `revoked`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replaced => "replaced",
            Self::Revoked => "revoked",
        }
    }
}

impl SessionId {
    /// Makes an id from random bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl FromStr for SessionId {
    type Err = SessionIdError;

    fn from_str(text: &str) -> Result<Self, SessionIdError> {
        let mut bytes = [0; 16];
        match Base64UrlUnpadded::decode(text, &mut bytes) {
            Ok(decoded) if decoded.len() == 16 => Ok(Self(bytes)),
            _ => Err(SessionIdError),
        }
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buffer = [0; 22];
        f.write_str(Base64UrlUnpadded::encode(&self.0, &mut buffer).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

/// The error for a text that is no session id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("session id: expected 22 characters of base64url")]
pub struct SessionIdError;
