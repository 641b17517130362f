//! The tower layer around the verifier.

use std::{fmt, sync::Arc};

use tower_layer::Layer;

use crate::{
    server::{
        body::drain::{Drain, DrainLimits},
        layer::service::Verify,
        response::renderer::{ProblemJson, RenderRejection},
        verifier::Verifier,
    },
    store::{KeyStore, MemoryNonceStore},
};

/// Puts a [`Verifier`] in front of a service. Only requests that are signed, fresh and not repeated reach the service.
///
/// Clones share their nonce store. Two layers made by `new` do not. Set options on the verifier:
/// `Verifier::new(keys).with_nonces(store).into_layer()`.
///
/// # Caches
///
/// Every response to a rejected request has `Cache-Control: no-store`. The layer adds `Cache-Control: private` to the
/// response to a verified request, unless the service has set one of these directives: `public`, `s-maxage`,
/// `no-store`, or `private` without a list of fields. A `max-age` alone does not count. A response that has a
/// `max-age`, `Expires` or `Last-Modified`, and no `no-store`, also gets a `Vary` header with the header of the app id
/// and the header that carries the token. With it, a browser does not show one user's response to the next user. Fields
/// for one kind of cache, such as `CDN-Cache-Control` (RFC 9213), are not changed.
///
/// ```
/// # use countersign::{Secret, VerifyLayer, store::StaticKeys};
/// let keys = StaticKeys::new([("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?)])?;
/// let layer = VerifyLayer::new(keys);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct VerifyLayer<K, N = MemoryNonceStore, R = ProblemJson> {
    pub(in crate::server) verifier: Arc<Verifier<K, N>>,
    pub(in crate::server) renderer: Arc<R>,
    pub(in crate::server) drain: Option<Arc<Drain>>,
}

impl<K: KeyStore> VerifyLayer<K> {
    /// Makes a layer around [`Verifier::new`]: with a new nonce store in memory, a tolerance of five minutes, and
    /// fields in headers.
    pub fn new(keys: K) -> Self {
        Self::from(Verifier::new(keys))
    }
}

impl<K, N, R> VerifyLayer<K, N, R> {
    /// Returns the verifier of this layer.
    pub fn verifier(&self) -> &Verifier<K, N> {
        &self.verifier
    }

    /// Sets how the layer responds to rejected requests. Default: [`ProblemJson`].
    ///
    /// Start from [`Rejection::to_response`](crate::Rejection::to_response), which sets the headers that clients and
    /// caches need.
    ///
    /// ```
    /// # use countersign::{Rejection, Secret, VerifyLayer, store::StaticKeys};
    /// # let keys = StaticKeys::new([("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?)])?;
    /// let layer = VerifyLayer::new(keys).with_renderer(|rejection: &Rejection| {
    ///     let mut response = rejection.to_response().map(|_| rejection.kind().code().into());
    ///     response.headers_mut().insert("content-type", http::HeaderValue::from_static("text/plain"));
    ///     response
    /// });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_renderer<T: RenderRejection>(self, renderer: T) -> VerifyLayer<K, N, T> {
        VerifyLayer { verifier: self.verifier, renderer: Arc::new(renderer), drain: self.drain }
    }

    /// Sets how much of a body the layer reads and discards after a response that came before the body's end. Default:
    /// [`DrainLimits::new`].
    ///
    /// Clones of a layer share the limit on the number of bodies.
    pub fn with_drain_limits(self, limits: DrainLimits) -> Self {
        Self { drain: Drain::new(limits), ..self }
    }
}

impl<K, N> From<Verifier<K, N>> for VerifyLayer<K, N> {
    fn from(verifier: Verifier<K, N>) -> Self {
        let drain = Drain::new(DrainLimits::new());
        Self { verifier: Arc::new(verifier), renderer: Arc::new(ProblemJson::new()), drain }
    }
}

impl<S, K, N, R> Layer<S> for VerifyLayer<K, N, R> {
    type Service = Verify<S, K, N, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Verify::new(inner, self)
    }
}

/// A `Verifier` is not a layer. This impl never applies. It makes the compiler show what to write instead.
#[doc(hidden)]
impl<S, K, N> Layer<S> for Verifier<K, N>
where
    Self: IsLayer,
{
    type Service = Verify<S, K, N>;

    fn layer(&self, inner: S) -> Self::Service {
        VerifyLayer::from(self.clone()).layer(inner)
    }
}

/// No type implements this trait.
#[diagnostic::on_unimplemented(
    message = "a `Verifier` is not a layer",
    label = "write `verifier.into_layer()`",
    note = "`Verifier::into_layer` makes the layer: `.layer(verifier.into_layer())`"
)]
pub trait IsLayer {}

impl<K, N, R> Clone for VerifyLayer<K, N, R> {
    fn clone(&self) -> Self {
        Self { verifier: self.verifier.clone(), renderer: self.renderer.clone(), drain: self.drain.clone() }
    }
}

impl<K, N, R> fmt::Debug for VerifyLayer<K, N, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyLayer").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}
