//! The layer that refuses nothing.

use std::{fmt, sync::Arc};

use http::request::Parts;
use tower_layer::Layer;

use super::service::{Report, ReportOnly, Verdict};
use crate::{
    server::Verifier,
    store::{KeyStore, MemoryNonceStore, NonceStore},
};

/// Lets every request in, and tells the verdict on each: for the time until all clients sign.
///
/// A request that is verified reaches the service as it would behind [`VerifyLayer`](crate::VerifyLayer): with its
/// [`Caller`](crate::Caller), and stripped of what was not signed. Any other goes on as it came, body and all, without a `Caller`, and with
/// its [`RejectionKind`](crate::RejectionKind) in its extensions. Answers are the service's own.
///
/// It does all the work of verifying, nonces included, and keeps what it reads of a body until the verdict, up to the
/// [limit](crate::Limits::with_body): a form is held a second time for that, outside of the
/// [memory](Verifier::with_form_memory) that forms share. Where bodies are [streamed](Verifier::with_streamed_bodies)
/// none is kept: the service gets it as it comes, with its `Caller`, and the verdict is told at its end. An
/// [observer](Verifier::with_observer) of the verifier is told as well, of what was only reported as
/// [not enforced](crate::server::Outcome::is_enforced).
///
/// ```
/// # use countersign::{Secret, StaticKeys, Verifier, danger::ReportOnlyLayer};
/// # let keys = StaticKeys::new([("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?)])?;
/// let layer = ReportOnlyLayer::new(Verifier::new(keys), |request, verdict| match verdict {
///     Ok(caller) => println!("{} would let in {}", request.uri.path(), caller.app_id()),
///     Err(rejection) => println!("{} would refuse: {rejection}", request.uri.path()),
/// });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct ReportOnlyLayer<K, N = MemoryNonceStore> {
    verifier: Arc<Verifier<K, N>>,
    report: Report,
}

impl<K: KeyStore, N: NonceStore> ReportOnlyLayer<K, N> {
    /// Calls `report` with each request's head, as it came, and the verdict on it. Requests that
    /// [bypass](Verifier::with_insecure_bypass) verification are not reported.
    ///
    /// If `report` panics, the panic is caught, and the request goes on.
    pub fn new(verifier: Verifier<K, N>, report: impl Fn(&Parts, Verdict<'_>) + Send + Sync + 'static) -> Self {
        Self { verifier: Arc::new(verifier.report_only()), report: Report::new(report) }
    }
}

impl<S, K, N> Layer<S> for ReportOnlyLayer<K, N> {
    type Service = ReportOnly<S, K, N>;

    fn layer(&self, inner: S) -> Self::Service {
        ReportOnly::new(inner, self.verifier.clone(), self.report.clone())
    }
}

impl<K, N> Clone for ReportOnlyLayer<K, N> {
    fn clone(&self) -> Self {
        Self { verifier: self.verifier.clone(), report: self.report.clone() }
    }
}

impl<K, N> fmt::Debug for ReportOnlyLayer<K, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReportOnlyLayer").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}
