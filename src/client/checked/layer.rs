//! The tower layer that signs requests and checks responses.

use tower_layer::Layer;

use super::service::CheckResponses;
use crate::client::layer::SignLayer;

/// Signs every request before the client sends it, and checks the signature of every response.
///
/// [`SignLayer::require_signed_responses`] makes it, with the options of the `SignLayer`. A response that passes is the
/// service's response to this very request, with its status, body and signed headers. Any other response is the error
/// [`SendError::OutcomeUnknown`](crate::SendError::OutcomeUnknown).
///
/// The layer never sends a request twice. An unsigned `stale_timestamp` still corrects the clock for later requests, under the
/// conditions of [`SignLayer::with_clock_correction`]. To send a request again is for the caller to decide: do it only if the
/// request changes nothing, or if it has an idempotency key.
///
/// Each response is buffered, up to a [limit](Self::with_max_response). The layer sets `Accept-Encoding` to `identity`. Put
/// layers that decompress outside of it. A request to another origin than those of [`SignLayer::with_origins`] is not sent, and
/// fails with a [`SignError`](crate::SignError): its response could not be checked.
///
/// ```
/// # use countersign::{Secret, Signer, SignLayer, client::SignedBody};
/// # use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// # use tower::ServiceBuilder;
/// # let signer = Signer::new("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?);
/// let client = Client::builder(TokioExecutor::new()).build_http::<SignedBody>();
/// let client = ServiceBuilder::new().layer(SignLayer::new(signer).require_signed_responses()).service(client);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct CheckResponsesLayer {
    sign: SignLayer,
    max_response: u64,
}

impl CheckResponsesLayer {
    pub(in crate::client) fn new(sign: SignLayer) -> Self {
        Self { sign, max_response: 2 * 1024 * 1024 }
    }

    /// Sets the maximum size of a response's body, in bytes. Default: 2 MiB, the default limit of `SignResponsesLayer`.
    ///
    /// A larger body fails with [`BodyTooLarge`](crate::ResponseErrorKind::BodyTooLarge).
    pub fn with_max_response(self, bytes: u64) -> Self {
        Self { max_response: bytes, ..self }
    }
}

impl<S> Layer<S> for CheckResponsesLayer {
    type Service = CheckResponses<S>;

    fn layer(&self, inner: S) -> CheckResponses<S> {
        CheckResponses::new(self.sign.layer(inner), self.max_response)
    }
}
