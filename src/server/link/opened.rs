//! What a caller tells about the share link that it opened.

use std::fmt;

/// The grant of a link. Without the feature `tokens`, there is none.
#[cfg(not(feature = "tokens"))]
pub(super) use std::convert::Infallible as FoundGrant;

#[cfg(feature = "tokens")]
pub(super) use crate::token::Grant as FoundGrant;

/// A share link that was opened. [`Caller::link`](crate::Caller::link) returns it.
#[derive(Clone)]
pub struct OpenedLink {
    expires_at: u64,
    is_one_time: bool,
    grant: Option<FoundGrant>,
}

impl OpenedLink {
    pub(super) fn new(expires_at: u64, is_one_time: bool, grant: Option<FoundGrant>) -> Self {
        Self { expires_at, is_one_time, grant }
    }

    /// Whether the link can end before it expires.
    pub(super) fn can_end_early(&self) -> bool {
        self.is_one_time || self.grant.is_some()
    }

    /// Returns the first second in which the link is expired, in Unix seconds.
    #[must_use]
    pub fn expires_at(&self) -> u64 {
        self.expires_at
    }

    /// Returns the grant of the link, which was live just now. It tells whose link this is: [`Grant::user`](crate::token::Grant::user)
    /// is the user that shares it (feature `tokens`).
    #[cfg(feature = "tokens")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokens")))]
    #[must_use]
    pub fn grant(&self) -> Option<&crate::token::Grant> {
        self.grant.as_ref()
    }

    /// Returns whether the link works once. It has been used up then.
    #[must_use]
    pub fn is_one_time(&self) -> bool {
        self.is_one_time
    }
}

impl fmt::Debug for OpenedLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenedLink")
            .field("expires_at", &self.expires_at)
            .field("is_one_time", &self.is_one_time)
            .finish_non_exhaustive()
    }
}
