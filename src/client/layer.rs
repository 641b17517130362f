//! The tower layer around a client.

use tower_layer::Layer;

use super::service::Sign;
use crate::protocol::Signer;

/// Signs every request on its way to a client.
///
/// Put it inside retries and redirects, so that each attempt is signed anew with its own nonce. What rewrites requests
/// goes above it, and nothing that does goes below.
///
/// ```
/// # use countersign::{Secret, Signer, SignLayer};
/// # use tower::ServiceBuilder;
/// # use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// # let signer = Signer::new("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?);
/// let client = Client::builder(TokioExecutor::new()).build_http::<http_body_util::Full<bytes::Bytes>>();
/// let client = ServiceBuilder::new().layer(SignLayer::new(signer)).service(client);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct SignLayer {
    signer: Signer,
}

impl SignLayer {
    /// Signs with this signer.
    pub fn new(signer: Signer) -> Self {
        Self { signer }
    }
}

impl<S> Layer<S> for SignLayer {
    type Service = Sign<S>;

    fn layer(&self, inner: S) -> Sign<S> {
        Sign::new(inner, self.signer.clone())
    }
}
