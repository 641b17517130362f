//! The options of share links.

/// How a verifier answers share links. [`Verifier::with_links`](crate::Verifier::with_links) turns links on.
///
/// What signers and verifiers of links agree on is in [`LinkScheme`](crate::LinkScheme).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Links {
    is_cacheable: bool,
}

impl Links {
    /// Makes the defaults: no cache keeps a response to a link.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the browser that opened a link keep the response until the link ends, or as long as the service's own `max-age`
    /// if that is shorter. Default: off.
    ///
    /// The response to a link for one use, or with a grant, is never kept: it can end at any time. Neither is one that the
    /// service marks `no-store` or `no-cache`.
    #[must_use]
    pub fn cacheable(self) -> Self {
        Self { is_cacheable: true }
    }

    pub(in crate::server) fn is_cacheable(self) -> bool {
        self.is_cacheable
    }
}
