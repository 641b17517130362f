//! The tower layer around a client.

use tower_layer::Layer;

use super::{
    checked::CheckResponsesLayer,
    correction::ClockCorrection,
    origin::{OriginError, Origins},
    service::Sign,
};
use crate::protocol::Signer;

/// Signs every request before the client sends it.
///
/// Put the layer inside layers that retry or follow redirects, so that each attempt gets its own nonce and signature.
/// Put it inside all layers that rewrite requests. If an outer layer follows redirects, set the
/// [origins](Self::with_origins). Otherwise the layer signs redirected requests to any host.
///
/// If `host` is a signed header, each request must have the host in its URL or as a header. tonic's channel adds the
/// host inside this layer, so build the tonic client with `with_origin`.
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
    pub(super) correction: ClockCorrection,
}

impl SignLayer {
    /// Creates a layer that signs with this signer.
    pub fn new(signer: Signer) -> Self {
        Self { signer, origins: Origins::default(), max_body: 2 * 1024 * 1024, correction: ClockCorrection::default() }
    }

    /// Signs only requests to these origins. Default: all origins.
    ///
    /// An origin is a scheme, a host and a port. The comparison ignores case, and an explicit default port makes no
    /// difference. The host is compared as text, so two names of one host are two origins. If a service returns
    /// `unsigned`, compare its URL with the origins here.
    ///
    /// The layer sends a request to another origin without a signature, and streams its body, whatever its size. It
    /// removes all parts of a signature from the request: the fields and the body digest in headers, a complete
    /// signature in the query unless the [field location](crate::FieldLocation) is `Headers`, and the token in its
    /// [location](crate::TokenLocation). For `Bearer`, it removes any `Authorization: Bearer` header. To call another
    /// service that needs its own bearer token, use a separate client.
    ///
    /// A request whose URL has no scheme or host is not sent, and fails with a [`SignError`](crate::SignError). Clients
    /// of a single connection, such as those of `hyper::client::conn`, use such URLs.
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
    /// Fails if there are no origins, or if one has no scheme, or has a path, a query, user info or an invalid port.
    pub fn with_origins(self, origins: impl IntoIterator<Item: AsRef<str>>) -> Result<Self, OriginError> {
        Ok(Self { origins: Origins::only(origins)?, ..self })
    }
}

impl SignLayer {
    /// Sets the maximum size of a buffered body, in bytes. The layer buffers a body to compute its digest. Default: 2
    /// MiB, the default limit of a verifier.
    ///
    /// A larger body fails with a [`SignError`](crate::SignError), unless its digest is
    /// [known](Sign#files-and-other-large-bodies).
    pub fn with_max_body(self, bytes: u64) -> Self {
        Self { max_body: bytes, ..self }
    }

    /// Corrects the clock by the verifier's. Default: off.
    ///
    /// If a verifier refuses a timestamp, its response has the verifier's time. The service then learns how far the clocks
    /// differ, signs the request again with a fresh nonce, and sends it once more, whatever its method: a verifier refuses a
    /// timestamp before the request reaches the service, and `VerifyLayer` passes on no time of another verifier. Later
    /// requests to `https` URLs use the corrected time.
    /// Clones of the service share the offset, so use one `SignLayer` for one API.
    ///
    /// The service learns only from responses to `https` URLs. It trusts the client below to verify the certificate:
    /// somebody who can set a client's clock collects requests that become valid later. It learns offsets of at most a
    /// day. With a larger offset, [`Refusal::clock_offset`](super::Refusal::clock_offset) says how wrong the clock is. If
    /// the verifier refuses the corrected timestamp too, the offset is forgotten.
    ///
    /// A request with a [streamed](Sign#files-and-other-large-bodies) body is not sent again by itself. Its next attempt
    /// has the corrected time.
    pub fn with_clock_correction(self) -> Self {
        Self { correction: ClockCorrection::new(false), ..self }
    }

    /// Corrects the clock like [`with_clock_correction`](Self::with_clock_correction), also by responses to `http` URLs.
    ///
    /// Use it only if nobody can change traffic between the client and the service, for example in tests or inside a
    /// service mesh that encrypts. Otherwise an attacker can make the client sign requests for a time up to a day ahead.
    ///
    /// Over `http`, only GET and HEAD requests are sent once more. For others, the refusal
    /// [says](super::Refusal::is_clock_corrected) that the next attempt has the corrected time.
    pub fn with_insecure_clock_correction(self) -> Self {
        Self { correction: ClockCorrection::new(true), ..self }
    }
}

impl SignLayer {
    /// Makes a layer that also checks the signature of each response, and returns an error for any response without a valid
    /// one. Default: responses are not checked.
    ///
    /// The service must sign its responses, for example with `SignResponsesLayer`. See [`CheckResponsesLayer`].
    pub fn require_signed_responses(self) -> CheckResponsesLayer {
        CheckResponsesLayer::new(self)
    }
}

impl<S> Layer<S> for SignLayer {
    type Service = Sign<S>;

    fn layer(&self, inner: S) -> Sign<S> {
        Sign::new(inner, self)
    }
}
