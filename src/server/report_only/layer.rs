//! The layer that reports verdicts and rejects nothing.

use std::{fmt, sync::Arc};

use http::request::Parts;
use tower_layer::Layer;

use super::service::{Report, ReportOnly, Verdict};
use crate::{
    server::Verifier,
    store::{KeyStore, MemoryNonceStore, NonceStore},
};

/// Accepts every request and reports the verdict on each. Use it until all clients sign.
///
/// A verified request reaches the service as it would behind [`VerifyLayer`](crate::VerifyLayer): with its
/// [`Caller`](crate::Caller), and without unsigned parts. Any other request is forwarded unchanged, including its body,
/// without a `Caller`, and with its [`Rejection`](crate::Rejection) in its extensions. The service's responses
/// are not changed.
///
/// The layer runs the whole verification, including the nonce claim. It keeps the bytes that it reads of a body until
/// the verdict, up to the [limit](crate::Limits::with_body). A form therefore takes memory twice, and the second copy
/// does not count toward the [memory](Verifier::with_form_memory) that forms share.
/// [Streamed](Verifier::with_streamed_bodies) bodies are not kept: the service gets them as they arrive, with the
/// `Caller`, and the verdict is reported at their end. An [observer](Verifier::with_observer) of the verifier gets the
/// outcomes too, marked as [not enforced](crate::server::Outcome::is_enforced).
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
    /// Makes a layer that calls `report` with the head of each request, as it arrived, and the verdict on it. Requests
    /// that [bypass](Verifier::with_insecure_bypass) verification are not reported.
    ///
    /// If `report` panics, the panic is caught and the request continues.
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
