//! What a submission store keeps of a submission.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::protocol::{AppId, token::OwnerTag};

/// The place of a submission in a store: a SHA-256 of everything that makes two submissions the same, except their content.
///
/// Two submissions with different places never meet. The app, and the user if the request has a session, are there for
/// stores that share their room fairly.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SubmissionRef {
    key: [u8; 32],
    app_id: AppId,
    owner: Option<OwnerTag>,
}

impl SubmissionRef {
    /// Makes a place, for tests of stores. `SubmitOnceLayer` makes its own.
    #[must_use]
    pub fn new(key: [u8; 32], app_id: AppId, owner: Option<OwnerTag>) -> Self {
        Self { key, app_id, owner }
    }

    /// Returns the key of the store, 32 bytes.
    #[must_use]
    pub fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// Returns the app that submits.
    #[must_use]
    pub fn app_id(&self) -> &AppId {
        &self.app_id
    }

    /// Returns the tag of the user, if the request has a session of one.
    #[must_use]
    pub fn owner(&self) -> Option<&OwnerTag> {
        self.owner.as_ref()
    }
}

impl fmt::Debug for SubmissionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubmissionRef").field("app_id", &self.app_id).finish_non_exhaustive()
    }
}

/// The SHA-256 of a request's content. Two requests at one place with different fingerprints are different submissions.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Makes a fingerprint from its bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(..)")
    }
}

/// The right to run a submission, for a limited time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// 128 random bits, new for each request that reserves.
    pub id: [u8; 16],
    /// How long the lease lasts, from its reservation or its last renewal.
    pub lasts: Duration,
}

/// What happens to a submission whose lease has ended before it was finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenLost {
    /// Its outcome is unknown. It does not run again.
    #[default]
    Unknown,
    /// The next request with the same fingerprint runs it again, possibly while the first one still runs.
    TakeOver,
}

/// The result of [`reserve`](super::contract::SubmissionStore::reserve).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reserved {
    /// The caller has the lease and runs the submission.
    Yes,
    /// The place has this entry.
    No(Entry),
}

/// An entry of a submission store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The fingerprint of the request that reserved the place.
    pub fingerprint: Fingerprint,
    /// The state.
    pub state: EntryState,
    /// The time until the store forgets the entry.
    pub expires_in: Duration,
}

impl Entry {
    /// Makes an entry.
    #[must_use]
    pub fn new(fingerprint: Fingerprint, state: EntryState, expires_in: Duration) -> Self {
        Self { fingerprint, state, expires_in }
    }
}

/// The state of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryState {
    /// It runs, and its lease lasts.
    InFlight,
    /// Its outcome is not known.
    Unknown,
    /// It was answered.
    Done(StoredAnswer),
}

/// How a submission ends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finish {
    /// It was answered.
    Done(StoredAnswer),
    /// Its outcome is not known.
    Unknown,
    /// Nothing was done. The place is free again.
    Release,
}

/// The answer to a submission, as far as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredAnswer {
    status: StatusCode,
    location: Option<HeaderValue>,
    replay: Option<Box<(HeaderMap, Bytes)>>,
}

impl StoredAnswer {
    /// An answer of which only the status and the `location` are kept.
    #[must_use]
    pub fn new(status: StatusCode, location: Option<HeaderValue>) -> Self {
        Self { status, location, replay: None }
    }

    /// Adds the headers and the body, so that the answer can be sent again.
    #[must_use]
    pub fn with_replay(self, headers: HeaderMap, body: Bytes) -> Self {
        Self { replay: Some(Box::new((headers, body))), ..self }
    }

    /// Returns the status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the `location` header.
    #[must_use]
    pub fn location(&self) -> Option<&HeaderValue> {
        self.location.as_ref()
    }

    /// Returns the headers and the body, if they are stored.
    #[must_use]
    pub fn replay(&self) -> Option<(&HeaderMap, &Bytes)> {
        self.replay.as_deref().map(|(headers, body)| (headers, body))
    }
}

impl fmt::Debug for StoredAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredAnswer")
            .field("status", &self.status)
            .field("has_replay", &self.replay.is_some())
            .finish_non_exhaustive()
    }
}
