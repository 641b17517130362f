//! What reaches the service without having been verified.

use std::sync::Arc;

use http::request::Parts;

use super::{
    body::{RequestBody, UnverifiedBody},
    delivery::remove_overrides,
};
use crate::protocol::Rejection;

/// Which requests need no signature.
#[derive(Clone)]
pub(super) struct Exemption(Arc<dyn Fn(&Parts) -> bool + Send + Sync>);

/// The word of one who may say that a request goes on unverified: an exemption, or a report.
#[derive(Debug)]
pub struct Waiver(());

impl Exemption {
    pub(super) fn new(covers: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(covers))
    }

    pub(super) fn waive(&self, parts: &Parts) -> Option<Waiver> {
        (self.0)(parts).then_some(Waiver(()))
    }
}

impl Waiver {
    /// The request as it came, but for what could make it one that is not exempt.
    pub(super) fn exempt<B: RequestBody>(self, parts: &mut Parts, body: B) -> B::ServiceBody {
        remove_overrides(&mut parts.headers, &[]);
        B::unverified(UnverifiedBody::new(body), self)
    }

    pub(super) fn reported(_: &Rejection) -> Self {
        Self(())
    }
}
