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

/// Selects the requests that need no signature.
#[derive(Clone)]
pub(super) struct Bypass(Arc<Covers>);

type Covers = dyn Fn(&Method, &Uri) -> bool + Send + Sync;

impl Bypass {
    pub(super) fn new(covers: impl Fn(&Method, &Uri) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(covers))
    }

    /// Returns `false` if the closure panics.
    pub(super) fn covers(&self, parts: &Parts) -> bool {
        call_closure("bypass", || (self.0)(&parts.method, signed_uri(parts))).unwrap_or(false)
    }

    /// Accepts the request unchanged, except for headers that override the method or the URL.
    pub(super) fn admit<B: RequestBody>(parts: &mut Parts, body: B) -> AdmittedBody {
        remove_overrides(&mut parts.headers, &[]);
        AdmittedBody::unchecked(UnverifiedBody::new(body))
    }
}
