//! The description of a token to be issued.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

use crate::{
    protocol::token::{Device, Subject},
    store::token::record::TokenKind,
};

/// Describes a token to be issued.
///
/// ```
/// use countersign::token::NewToken;
///
/// let token = NewToken::for_user("u-17".parse()?).on("web".parse()?).with_data(&["buyer"])?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct NewToken {
    pub(super) user: Option<Subject>,
    pub(super) kind: TokenKind,
    pub(super) device: Option<Device>,
    pub(super) lifetime: Option<Duration>,
    pub(super) until: Option<u64>,
    pub(super) data: Option<Arc<str>>,
}

/// The most bytes of data of a session, as JSON.
const MAX_DATA: usize = 2048;

impl NewToken {
    /// A session of a user. The token is accepted with signed requests.
    pub fn for_user(user: Subject) -> Self {
        Self { user: Some(user), kind: TokenKind::Session, ..Self::for_app() }
    }

    /// An API token, which belongs to the app itself and to no user. It is accepted with signed requests.
    pub fn for_app() -> Self {
        Self { user: None, kind: TokenKind::Api, device: None, lifetime: None, until: None, data: None }
    }

    /// Names the kind of device, for example `phone`. A [limit](super::Tokens::with_limit) counts each kind separately, and
    /// sessions without a kind together. Default: none.
    pub fn on(self, device: Device) -> Self {
        Self { device: Some(device), ..self }
    }

    /// Makes a token that is accepted with one signed request only. It cannot be renewed. It replaces
    /// [`bearer`](Self::bearer).
    pub fn one_time(self) -> Self {
        Self { kind: TokenKind::OneTime, ..self }
    }

    /// Makes a token for routes behind a [`TokenLayer`](crate::server::TokenLayer), which require no signature. Signed
    /// routes do not accept it. It replaces [`one_time`](Self::one_time).
    pub fn bearer(self) -> Self {
        Self { kind: TokenKind::Bearer, ..self }
    }

    /// Sets the lifetime of this token. Default: [`Tokens::with_lifetime`](super::Tokens::with_lifetime), which also applies to
    /// each renewal of this token. If it is longer than the
    /// [lifetime of a session](super::Tokens::with_session_lifetime), the session is as long.
    pub fn with_lifetime(self, lifetime: Duration) -> Self {
        Self { lifetime: Some(lifetime), ..self }
    }

    /// Ends the session and all renewals at this Unix second. Default: after the
    /// [lifetime of a session](super::Tokens::with_session_lifetime).
    pub fn until(self, unix_seconds: u64) -> Self {
        Self { until: Some(unix_seconds), ..self }
    }

    /// Stores data with the session, as JSON of at most 2 KiB. The handler gets it at
    /// [`Session::data`](super::Session::data).
    ///
    /// # Errors
    ///
    /// The data cannot be written as JSON, or has more than 2,048 bytes as JSON.
    pub fn with_data<T: Serialize + ?Sized>(self, data: &T) -> Result<Self, DataError> {
        Ok(Self { data: Some(json(data)?), ..self })
    }
}

/// Writes the data of a session as JSON.
pub(crate) fn json<T: Serialize + ?Sized>(data: &T) -> Result<Arc<str>, DataError> {
    let json = serde_json::to_string(data).map_err(DataError::Json)?;
    match json.len() > MAX_DATA {
        true => Err(DataError::TooLong(json.len())),
        false => Ok(json.into()),
    }
}

/// The error for data that cannot be stored with a session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The data cannot be written as JSON.
    #[error("the data of a session cannot be written as JSON")]
    Json(#[source] serde_json::Error),
    /// The data is too long.
    #[error("the data of a session has {0} bytes as JSON: at most 2,048 are stored")]
    TooLong(usize),
}
