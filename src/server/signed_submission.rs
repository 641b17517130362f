//! What the verifier gives to a layer that runs each submission once.

use std::sync::Arc;

use crate::{
    protocol::{Authentic, Fields, Scheme, SignedContent},
    server::caller::Caller,
};

/// The content of a verified request, in its extensions. It is there if the verifier has
/// [fingerprints](crate::Verifier::with_fingerprints).
pub(crate) struct SignedSubmission {
    pub(crate) content: SignedContent,
    pub(crate) scheme: Arc<Scheme>,
    /// Whether the body was compared with its digest before the service gets it.
    pub(crate) is_body_checked: bool,
    fields: Arc<Fields>,
}

impl SignedSubmission {
    pub(super) fn new(authentic: &Authentic<'_>, scheme: &Arc<Scheme>) -> Self {
        let (content, fields) = authentic.content(scheme);
        Self { content, scheme: scheme.clone(), is_body_checked: true, fields }
    }

    /// Whether this is the content of the caller's request. Another verifier in between makes another caller.
    pub(crate) fn is_of(&self, caller: &Caller) -> bool {
        caller.has(&self.fields)
    }
}
