//! What the verifier gives to a layer that runs each submission once.

use std::sync::Arc;

use crate::protocol::{Authentic, Scheme, SignedContent};

/// The content of a verified request, in its extensions. It is there if the verifier has
/// [fingerprints](crate::Verifier::with_fingerprints). It is that of the request's caller, because a verifier rejects a request
/// that was verified before.
pub(crate) struct SignedSubmission {
    pub(crate) content: SignedContent,
    pub(crate) scheme: Arc<Scheme>,
    /// Whether the body was compared with its digest before the service gets it.
    pub(crate) is_body_checked: bool,
}

impl SignedSubmission {
    pub(super) fn new(authentic: &Authentic<'_>, scheme: &Arc<Scheme>) -> Self {
        Self { content: authentic.content(scheme), scheme: scheme.clone(), is_body_checked: true }
    }
}
