//! Requests that reach the service without a signature.

use std::sync::Arc;

use http::{Method, Uri, request::Parts};

use crate::{
    event::call_closure,
    server::{
        body::{admitted::AdmittedBody, request::RequestBody, unverified::UnverifiedBody},
        forward::{remove_overrides, signed_uri},
    },
};

/// Which requests need no signature.
#[derive(Clone)]
pub(super) struct Bypass(Arc<Covers>);

type Covers = dyn Fn(&Method, &Uri) -> bool + Send + Sync;

impl Bypass {
    pub(super) fn new(covers: impl Fn(&Method, &Uri) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(covers))
    }

    /// A closure that panics covers nothing.
    pub(super) fn covers(&self, parts: &Parts) -> bool {
        call_closure("bypass", || (self.0)(&parts.method, signed_uri(parts))).unwrap_or(false)
    }

    /// The request as it came, without the headers that could make it one that is not covered.
    pub(super) fn admit<B: RequestBody>(parts: &mut Parts, body: B) -> AdmittedBody {
        remove_overrides(&mut parts.headers, &[]);
        AdmittedBody::unchecked(UnverifiedBody::new(body))
    }
}
