//! What a caller tells about the share link that it opened.

use std::fmt;

use super::grant::FoundGrant;
#[cfg(feature = "tokens")]
use crate::token::Grant;

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

    /// Returns the first second in which the link is expired, in Unix seconds.
    #[must_use]
    pub fn expires_at(&self) -> u64 {
        self.expires_at
    }

    /// Returns whether the link works once. It has been used up then.
    #[must_use]
    pub fn is_one_time(&self) -> bool {
        self.is_one_time
    }

    /// Returns the grant that the link depends on, if it has one. It was live when the link was opened. It names the
    /// [owner](Grant::owner) who shared the link.
    #[cfg(feature = "tokens")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokens")))]
    #[must_use]
    pub fn grant(&self) -> Option<&Grant> {
        self.grant.as_ref()
    }

    pub(super) fn has_grant(&self) -> bool {
        self.grant.is_some()
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
