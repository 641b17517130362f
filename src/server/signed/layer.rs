//! The tower layer that signs responses.

use http::header::ACCEPT_ENCODING;
use tower_layer::Layer;

use super::service::SignResponses;
use crate::protocol::{Scheme, SchemeError};

/// Signs the responses of a service behind a [`VerifyLayer`](crate::VerifyLayer), with the key that signed the request.
///
/// A client that checks the signature knows that the response is the service's, and the response to this very request. The
/// [guide](crate::guide::responses) says when that is worth its price.
///
/// Put the layer outside everything that changes responses, the `VerifyLayer` and compression included. It
///
/// - buffers each response that it signs, up to a [limit](Self::with_max_body),
/// - sets the `Accept-Encoding` of requests to `identity`, so that layers below do not compress,
/// - adds `no-transform` to `Cache-Control`,
/// - adds `x-response-timestamp`, `x-response-content-sha256` and `x-response-sign`.
///
/// # What is signed
///
/// Only responses to requests whose nonce was claimed: those of the service, and the refusals of steps 9 and 9b of
/// PROTOCOL.md, such as `body_mismatch`. Earlier refusals, responses to share links, and to requests that
/// [bypass](crate::Verifier::with_insecure_bypass) verification, are passed on unsigned and unbuffered. If an earlier refusal
/// were signed, an attacker could hold back a response, send the request again, and present the genuine `replayed_nonce`.
///
/// The signature covers the status, `content-type`, `content-encoding`, `content-range`, the body, and the headers of
/// [`with_signed_response_headers`](crate::Scheme::with_signed_response_headers).
///
/// A response that cannot be signed becomes a signed 500 `misconfigured`: a body that is larger than the limit, has trailers or
/// fails before its end, `application/grpc`, `text/event-stream`, two content types, or a malformed one. An event (feature
/// `tracing`) tells the operator the reason. The caller does not get it.
///
/// ```
/// use axum::{Router, routing::get};
/// use countersign::{Secret, SignResponsesLayer, StaticKeys, Verifier};
///
/// let keys = StaticKeys::new([("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?)])?;
/// let verifier = Verifier::new(keys);
/// let sign_responses = SignResponsesLayer::new(verifier.scheme())?;
/// let app: Router =
///     Router::new().route("/balance", get(|| async { "17.00" })).layer(verifier.into_layer()).layer(sign_responses);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct SignResponsesLayer {
    max_body: u64,
}

impl SignResponsesLayer {
    /// Makes a layer for services whose verifiers have this scheme.
    ///
    /// # Errors
    ///
    /// Fails if `accept-encoding` is a signed header of the scheme, because the layer changes it.
    pub fn new(scheme: &Scheme) -> Result<Self, SchemeError> {
        match scheme.signed_headers().contains(&ACCEPT_ENCODING) {
            true => Err(SchemeError::SignedHeader {
                name: ACCEPT_ENCODING,
                reason: "SignResponsesLayer sets it to identity, so that bodies are signed as they are sent",
            }),
            false => Ok(Self { max_body: 2 * 1024 * 1024 }),
        }
    }

    /// Sets the maximum size of a signed body, in bytes. Default: 2 MiB.
    ///
    /// Each response that is being sent may take as much memory.
    pub fn with_max_body(self, bytes: u64) -> Self {
        Self { max_body: bytes }
    }
}

impl<S> Layer<S> for SignResponsesLayer {
    type Service = SignResponses<S>;

    fn layer(&self, inner: S) -> SignResponses<S> {
        SignResponses::new(inner, self.max_body)
    }
}
