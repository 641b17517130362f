//! The service that [`SignLayer`](super::SignLayer) creates.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use tower_service::Service;

use super::{SendError, correction::ClockCorrection, layer::SignLayer, origin::Origins};
use crate::{
    middleware::inner_accessors,
    protocol::{BoxError, Signer},
};

/// Signs requests before the client sends them.
///
/// `ready()` cannot infer the request type. Use `oneshot` on a clone, or `ServiceExt::<R>::ready`.
///
/// ```no_run
/// # use countersign::{Secret, Signer, SignLayer, client::SignedBody};
/// # use tower::{ServiceBuilder, ServiceExt};
/// # use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// # async fn call(signer: Signer) -> Result<(), tower::BoxError> {
/// # use http_body_util::Full;
/// # use bytes::Bytes;
/// let client = Client::builder(TokioExecutor::new()).build_http::<SignedBody>();
/// let client = ServiceBuilder::new().layer(SignLayer::new(signer)).service(client);
/// let request = http::Request::get("https://api.example.com/orders").body(Full::<Bytes>::default())?;
/// let response = client.clone().oneshot(request).await?;
/// # Ok(())
/// # }
/// ```
///
/// The service accepts any body of `Bytes`. It buffers the body, up to the [limit](SignLayer::with_max_body), to
/// compute its digest, and drops trailers. The inner client gets a [`SignedBody`](super::SignedBody). If it needs another body type, add a
/// `MapRequestBodyLayer` between them.
///
/// # Files and other large bodies
///
/// A body with a known digest is streamed. Put the [`BodyDigest`](crate::BodyDigest) into the request's extensions. Retries and
/// [origins](SignLayer::with_origins) work as for any other body. An outer retry layer must create the body again for
/// each attempt. Each attempt gets its own signature.
///
/// ```no_run
/// # use countersign::{BodyDigest, BodyHasher};
/// # use http_body_util::Full;
/// # use bytes::Bytes;
/// # fn request(body: Full<Bytes>) -> Result<http::Request<Full<Bytes>>, Box<dyn std::error::Error>> {
/// let mut hasher = BodyHasher::new();
/// std::io::copy(&mut std::fs::File::open("video.mp4")?, &mut hasher)?;
/// let request = http::Request::put("https://api.example.com/files/1").extension(hasher.finish()).body(body)?;
/// # Ok(request)
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "services do nothing unless they are called"]
pub struct Sign<S> {
    pub(super) inner: S,
    pub(super) signer: Signer,
    pub(super) origins: Origins,
    pub(super) max_body: u64,
    pub(super) correction: ClockCorrection,
}

impl<S> Sign<S> {
    pub(super) fn new(inner: S, layer: &SignLayer) -> Self {
        let SignLayer { signer, origins, max_body, correction } = layer.clone();
        Self { inner, signer, origins, max_body, correction }
    }

    inner_accessors!();
}

impl<S, R: SignableRequest<S>> Service<R> for Sign<S> {
    type Response = R::Response;
    type Error = SendError;
    type Future = ResponseFuture<R::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        R::poll_ready(&mut self.inner, context).map_err(SendError::Client)
    }

    fn call(&mut self, request: R) -> ResponseFuture<R::Response> {
        ResponseFuture::new(request.send(self))
    }
}

/// A request that [`Sign`] can sign and pass to a client of type `S`.
///
/// `http::Request` with any body of `Bytes` implements it for a client of `http::Request<SignedBody>`.
/// `reqwest::Request` implements it for a `reqwest::Client` (feature `reqwest`). The trait is sealed.
#[diagnostic::on_unimplemented(
    message = "`Sign` cannot send `{Self}` by this client",
    note = "`reqwest::Request` needs the feature `reqwest` of `countersign`, and a `reqwest::Client`",
    note = "any other request is an `http::Request` with a body of `Bytes`, and its client takes \
            `http::Request<countersign::client::SignedBody>`"
)]
pub trait SignableRequest<S>: Sealed + Sized {
    /// The response.
    type Response;

    #[doc(hidden)]
    fn poll_ready(client: &mut S, context: &mut Context<'_>) -> Poll<Result<(), BoxError>>;

    #[doc(hidden)]
    fn send(self, service: &mut Sign<S>) -> BoxedResponse<Self::Response>;
}

pub(super) type BoxedResponse<T> = Pin<Box<dyn Future<Output = Result<T, SendError>> + Send>>;

mod sealed {
    /// Seals the trait, so that methods can be added.
    pub trait Sealed {}
}
pub(super) use self::sealed::Sealed;

/// The response future of [`Sign`].
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<T>(BoxedResponse<T>);

impl<T> ResponseFuture<T> {
    pub(super) fn new(future: BoxedResponse<T>) -> Self {
        Self(future)
    }
}

impl<T> Future for ResponseFuture<T> {
    type Output = Result<T, SendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

impl<T> fmt::Debug for ResponseFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseFuture(..)")
    }
}
