//! A grant: its id, its record, and its text when it is new.

use std::{fmt, str::FromStr, sync::Arc};

use crate::{
    protocol::{
        AppId, GrantToken,
        token::{Owner, Subject},
    },
    store::token::record::{Record, SessionId},
};

/// The record on which share links depend: a link with a grant works only while the grant is live.
///
/// [`Tokens::grant`](super::Tokens::grant) makes one, and [`Tokens::end_grant`](super::Tokens::end_grant) ends it. All times
/// are Unix seconds.
#[derive(Clone, PartialEq, Eq)]
pub struct Grant(Arc<Record>);

/// The public id of a grant: 22 characters of base64url, from 128 random bits. It is no secret, and it opens no link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantId(SessionId);

/// A grant that was just issued, with its text.
pub struct IssuedGrant {
    token: GrantToken,
    grant: Grant,
    now: u64,
}

impl Grant {
    pub(crate) fn new(record: impl Into<Arc<Record>>) -> Self {
        Self(record.into())
    }

    /// The public id.
    #[must_use]
    pub fn id(&self) -> GrantId {
        GrantId(self.0.id)
    }

    /// The app that the grant was issued to. Only a link that this app signed is accepted with the grant.
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

    /// When the grant was issued.
    #[must_use]
    pub fn issued_at(&self) -> u64 {
        self.0.issued_at
    }

    /// The end of the grant. It is exclusive: the grant is live before this second.
    #[must_use]
    pub fn expires_at(&self) -> u64 {
        self.0.end()
    }
}

impl IssuedGrant {
    pub(super) fn new(token: GrantToken, grant: Grant, now: u64) -> Self {
        Self { token, grant, now }
    }

    /// The text of the grant, for a signer of links. Use it or send it to the client now, because the store does not keep it.
    #[must_use]
    pub fn token(&self) -> &GrantToken {
        &self.token
    }

    /// The grant.
    #[must_use]
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The number of seconds until the grant ends.
    #[must_use]
    pub fn expires_in(&self) -> u64 {
        self.grant.expires_at().saturating_sub(self.now)
    }
}

impl GrantId {
    pub(super) fn record_id(self) -> SessionId {
        self.0
    }
}

impl FromStr for GrantId {
    type Err = GrantIdError;

    fn from_str(text: &str) -> Result<Self, GrantIdError> {
        text.parse().map(Self).map_err(|_| GrantIdError)
    }
}

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GrantId({self})")
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("id", &self.id())
            .field("owner", self.owner())
            .field("app_id", self.app_id())
            .field("expires_at", &self.expires_at())
            .finish_non_exhaustive()
    }
}

/// Does not show the text.
impl fmt::Debug for IssuedGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedGrant").field("grant", &self.grant).finish_non_exhaustive()
    }
}

/// The error for a text that is no grant id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("grant id: expected 22 characters of base64url")]
pub struct GrantIdError;
