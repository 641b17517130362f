//! The service that `CheckResponsesLayer` creates.

use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Body;
use tower_service::Service;

use crate::{
    client::{
        Refusal, SendError,
        exchange::Unchecked,
        service::{BoxedResponse, ResponseFuture, Sealed, Sign},
    },
    collect::{CollectError, collect},
    protocol::{BoxError, Payload, ResponseError, ResponseErrorKind, SignError, SignErrorKind, Signer},
};

/// Signs requests, and checks the signatures of responses. [`CheckResponsesLayer`](super::CheckResponsesLayer) makes it.
///
/// The response to an `http::Request` has a `Full<Bytes>` as its body. The response to a `reqwest::Request` is a
/// `reqwest::Response` (feature `reqwest`). A signed refusal is a response like any other, and has a [`Refusal`] in its
/// extensions.
///
/// `reqwest` decodes bodies if one of its features `gzip`, `brotli`, `zstd` or `deflate` is on. Build its client with `no_gzip()`
/// and so on, if the service may send encoded bodies: the signature covers the bytes that were sent.
#[derive(Clone, Debug)]
#[must_use = "services do nothing unless they are called"]
pub struct CheckResponses<S> {
    pub(super) sign: Sign<S>,
    pub(super) max_response: u64,
}

impl<S> CheckResponses<S> {
    pub(super) fn new(sign: Sign<S>, max_response: u64) -> Self {
        Self { sign, max_response }
    }

    /// Returns a reference to the inner service.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        self.sign.get_ref()
    }

    /// Returns a mutable reference to the inner service.
    pub fn get_mut(&mut self) -> &mut S {
        self.sign.get_mut()
    }

    /// Returns the inner service.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.sign.into_inner()
    }
}

impl<S, R: CheckableRequest<S>> Service<R> for CheckResponses<S> {
    type Response = R::Response;
    type Error = SendError;
    type Future = ResponseFuture<R::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        R::poll_ready(self.sign.get_mut(), context).map_err(SendError::Client)
    }

    fn call(&mut self, request: R) -> ResponseFuture<R::Response> {
        ResponseFuture::new(request.send(self))
    }
}

/// A request that [`CheckResponses`] can sign and pass to a client of type `S`, and whose response it can check.
///
/// `http::Request` with any body of `Bytes` implements it for a client of `http::Request<SignedBody>` whose response bodies are
/// of `Bytes`. `reqwest::Request` implements it for a `reqwest::Client` (feature `reqwest`). The trait is sealed.
pub trait CheckableRequest<S>: Sealed + Sized {
    /// The response.
    type Response;

    #[doc(hidden)]
    fn poll_ready(client: &mut S, context: &mut Context<'_>) -> Poll<Result<(), BoxError>>;

    #[doc(hidden)]
    fn send(self, service: &mut CheckResponses<S>) -> BoxedResponse<Self::Response>;
}

/// The error for a request to an origin that gets no signature.
pub(super) fn other_origin() -> SignError {
    SignError::new(
        SignErrorKind::Url,
        "the request goes to another origin than those of SignLayer::with_origins, and its response could not be checked: send \
         it with another client",
    )
}

/// Reads the body of a response, and checks its signature.
pub(super) async fn checked<B>(
    signer: &Signer,
    Unchecked { response, sent, received }: Unchecked<(http::response::Parts, B)>,
    limit: u64,
) -> Result<(http::response::Parts, Bytes), SendError>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let (mut parts, body) = response;
    let bytes = match sent.has_body(parts.status) {
        true => read(body, limit).await,
        // After a 101, no body follows.
        false => Ok(Bytes::new()),
    };
    let result = bytes.and_then(|bytes| {
        let payload = Payload::Bytes(&bytes);
        signer.check_response_at(&sent, parts.status, &parts.headers, payload, received)?;
        Ok(bytes)
    });
    match result {
        Ok(bytes) => Ok((parts, bytes)),
        Err(error) => {
            let refusal = parts.extensions.remove::<Refusal>().map(Box::new);
            Err(SendError::OutcomeUnknown { error, refusal })
        }
    }
}

async fn read<B>(body: B, limit: u64) -> Result<Bytes, ResponseError>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    collect(body, limit).await.map_err(|error| match error {
        CollectError::TooLarge => ResponseError::new(
            ResponseErrorKind::BodyTooLarge,
            format!(
                "the response's body has more than {limit} bytes: raise CheckResponsesLayer::with_max_response, if the service \
                 sends as much"
            ),
        ),
        CollectError::Broken(source) => {
            ResponseError::new(ResponseErrorKind::BrokenBody, "the response's body could not be read to its end")
                .with_source(source)
        }
        CollectError::NoRoom(never) => match never {},
    })
}
