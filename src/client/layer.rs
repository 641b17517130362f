//! The tower layer around a client.

use tower_layer::Layer;

use super::{
    origin::{OriginError, Origins},
    service::Sign,
};
use crate::protocol::Signer;

/// Signs every request on its way to a client.
///
/// Put it inside retries and redirects, so that each attempt is signed anew with its own nonce. What rewrites requests
/// goes above it, and nothing that does goes below. Whenever anything above follows redirects, set the
/// [origins](Self::with_origins): what is redirected to is signed otherwise, wherever that is.
///
/// Where `host` is signed, requests must have it in their URL or as a header. tonic's channel writes it further below:
/// make the client `with_origin`.
///
/// ```
/// # use countersign::{Secret, Signer, SignLayer};
/// # use tower::ServiceBuilder;
/// # use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// # let signer = Signer::new("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?);
/// let client = Client::builder(TokioExecutor::new()).build_http::<countersign::client::SignedBody>();
/// let client = ServiceBuilder::new().layer(SignLayer::new(signer)).service(client);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct SignLayer {
    pub(super) signer: Signer,
    pub(super) origins: Origins,
    pub(super) max_body: u64,
}

impl SignLayer {
    /// Signs with this signer.
    pub fn new(signer: Signer) -> Self {
        Self { signer, origins: Origins::default(), max_body: 2 * 1024 * 1024 }
    }

    /// Signs for these origins alone. Default: for all.
    ///
    /// An origin is a scheme, a host and a port. Case does not matter, nor whether a default port is written out. The
    /// host is compared as text: one host by two names is two origins. So if a service answers `unsigned`, see how
    /// its URL is written here.
    ///
    /// A request to another origin is sent on without a signature, and without what it carries of one: the fields and
    /// the body digest in headers, the fields in the query unless the [carrier](crate::FieldLocation) is headers alone, and
    /// the token in its [place](crate::TokenLocation). For `Bearer` that is any `Authorization: Bearer`, so call another
    /// service that wants one of its own through another client. Its body is streamed, whatever its size.
    ///
    /// A request whose URL names no origin, as clients of a single connection take it, is not sent: that is a
    /// [`SignError`](crate::SignError).
    ///
    /// ```
    /// # use countersign::{Secret, Signer, SignLayer};
    /// # use countersign::client::SignedBody;
    /// # use hyper_util::{client::legacy::Client, rt::TokioExecutor};
    /// # use tower::ServiceBuilder;
    /// # use tower_http::follow_redirect::FollowRedirectLayer;
    /// # let signer = Signer::new("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?);
    /// # let client = Client::builder(TokioExecutor::new()).build_http::<SignedBody>();
    /// let client = ServiceBuilder::new()
    ///     .layer(FollowRedirectLayer::new())
    ///     .layer(SignLayer::new(signer).with_origins(["https://api.example.com"])?)
    ///     .service(client);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// There is none, or one is more than an origin or less: it has a path, or no scheme.
    pub fn with_origins(self, origins: impl IntoIterator<Item: AsRef<str>>) -> Result<Self, OriginError> {
        Ok(Self { origins: Origins::only(origins)?, ..self })
    }
}

impl SignLayer {
    /// How many bytes of a body are read and held, since its digest is signed. Default: 2 MiB, as much as a verifier takes by
    /// default.
    ///
    /// A larger body is a [`SignError`](crate::SignError), unless its digest is [known](Sign#files-and-other-large-bodies).
    pub fn with_max_body(self, bytes: u64) -> Self {
        Self { max_body: bytes, ..self }
    }
}

impl<S> Layer<S> for SignLayer {
    type Service = Sign<S>;

    fn layer(&self, inner: S) -> Sign<S> {
        Sign::new(inner, self)
    }
}
