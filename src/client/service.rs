//! The service that [`SignLayer`](super::SignLayer) creates.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Request;
use http_body::Body;
use tower_service::Service;

use super::{body::SignedBody, layer::SignLayer, origin::Origins};
use crate::{
    collect::{CollectError, collect},
    middleware::{inner_accessors, take_ready},
    protocol::{BodyDigest, BoxError, Payload, SignError, Signer},
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
/// The service accepts any body. It buffers the body first, up to the [limit](SignLayer::with_max_body), because the
/// digest is signed. It drops trailers. The client below gets a [`SignedBody`]. If it needs another body type, add a
/// `MapRequestBodyLayer` between them.
///
/// # Files and other large bodies
///
/// A body with a known digest is streamed. Put the [`BodyDigest`] into the request's extensions. Retries and
/// [origins](SignLayer::with_origins) work as for any other body. A retry layer above this service creates the body
/// again, and each attempt gets its own signature.
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
}

impl<S> Sign<S> {
    pub(super) fn new(inner: S, layer: &SignLayer) -> Self {
        let SignLayer { signer, origins, max_body } = layer.clone();
        Self { inner, signer, origins, max_body }
    }

    inner_accessors!();
}

impl<S, R: SignableRequest<S>> Service<R> for Sign<S> {
    type Response = R::Response;
    /// A [`SignError`], or the error of the client.
    type Error = BoxError;
    type Future = R::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        R::poll_ready(&mut self.inner, context)
    }

    fn call(&mut self, request: R) -> R::Future {
        request.send(self)
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
    /// The response of the client.
    type Response;
    /// The response future.
    type Future: Future<Output = Result<Self::Response, BoxError>>;

    #[doc(hidden)]
    fn poll_ready(client: &mut S, context: &mut Context<'_>) -> Poll<Result<(), BoxError>>;

    #[doc(hidden)]
    fn send(self, service: &mut Sign<S>) -> Self::Future;
}

mod sealed {
    /// Seals the trait, so that methods can be added.
    pub trait Sealed {}
}
pub(super) use self::sealed::Sealed;

impl<B> Sealed for Request<B> {}

impl<S, B> SignableRequest<S> for Request<B>
where
    S: Service<Request<SignedBody>, Error: Into<BoxError>, Future: Send> + Clone + Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = S::Response;
    type Future = ResponseFuture<S::Response>;

    fn poll_ready(client: &mut S, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        client.poll_ready(context).map_err(Into::into)
    }

    fn send(self, service: &mut Sign<S>) -> Self::Future {
        let mut inner = take_ready(&mut service.inner);
        let (signer, origins, max_body) = (service.signer.clone(), service.origins.clone(), service.max_body);
        ResponseFuture(Box::pin(async move {
            let (mut parts, body) = self.into_parts();
            let is_signed = origins.include(&parts.uri)?;
            let digest = parts.extensions.remove::<BodyDigest>();
            let body = match digest {
                _ if !is_signed => {
                    signer.strip_signature(&mut parts)?;
                    SignedBody::streamed(body)
                }
                Some(digest) => {
                    signer.sign_parts(&mut parts, Payload::Digest(digest))?;
                    SignedBody::streamed(body)
                }
                None => {
                    let bytes = read(body, max_body).await?;
                    signer.sign_parts(&mut parts, Payload::Bytes(&bytes))?;
                    SignedBody::whole(bytes)
                }
            };
            inner.call(Request::from_parts(parts, body)).await.map_err(Into::into)
        }))
    }
}

async fn read<B>(body: B, limit: u64) -> Result<Bytes, SignError>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    collect(body, limit).await.map_err(|error| match error {
        CollectError::TooLarge => SignError::without_source(format!(
            "the body has more than {limit} bytes, which is what SignLayer reads of one: raise SignLayer::with_max_body, or put \
             the body's BodyDigest into the request's extensions, and it is streamed"
        )),
        CollectError::Broken(error) => SignError::new("the body could not be read", error),
        CollectError::NoRoom(never) => match never {},
    })
}

/// The response future of [`Sign`].
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<T>(Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>);

impl<T> Future for ResponseFuture<T> {
    type Output = Result<T, BoxError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

impl<T> fmt::Debug for ResponseFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseFuture(..)")
    }
}
