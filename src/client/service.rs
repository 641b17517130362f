//! The client that [`SignLayer`](super::SignLayer) makes.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Request;
use http_body::Body;
use http_body_util::Full;
use tower_service::Service;

use super::origin::Origins;
use crate::{
    accessors::inner_accessors,
    collect::{CollectError, collect},
    protocol::{BoxError, Payload, SignError, Signer},
    ready::take_ready,
};

/// Signs requests before the client sends them.
///
/// Its calls have the body's type, which `ready()` does not know: use `oneshot` on a clone.
///
/// ```no_run
/// # use countersign::{Secret, Signer, SignLayer};
/// # use tower::{ServiceBuilder, ServiceExt};
/// # use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// # async fn call(signer: Signer) -> Result<(), tower::BoxError> {
/// # use http_body_util::Full;
/// # use bytes::Bytes;
/// let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
/// let client = ServiceBuilder::new().layer(SignLayer::new(signer)).service(client);
/// let request = http::Request::get("https://api.example.com/orders").body(Full::<Bytes>::default())?;
/// let response = client.clone().oneshot(request).await?;
/// # Ok(())
/// # }
/// ```
///
/// If the compiler says that `ready` or `oneshot` exists but its bounds are not satisfied: over a `reqwest::Client` the
/// feature `reqwest` is off; any other client takes another body than `Full<Bytes>`.
///
/// It takes any body, and reads it first, up to the [limit](crate::Limits::with_body), since its digest is signed;
/// trailers are dropped. The client below gets the bytes as a `Full<Bytes>`; one that sends another body needs a
/// `MapRequestBodyLayer` between. To send a large one, sign its digest with [`Signer::sign_parts`] and use the client
/// without this layer.
#[derive(Clone, Debug)]
pub struct Sign<S> {
    pub(super) inner: S,
    pub(super) signer: Signer,
    pub(super) origins: Origins,
}

impl<S> Sign<S> {
    pub(super) fn new(inner: S, signer: Signer, origins: Origins) -> Self {
        Self { inner, signer, origins }
    }

    inner_accessors!();
}

impl<S, B> Service<Request<B>> for Sign<S>
where
    S: Service<Request<Full<Bytes>>, Error: Into<BoxError>, Future: Send> + Clone + Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = S::Response;
    /// [`SignError`], or the client's own.
    type Error = BoxError;
    type Future = ResponseFuture<S::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut inner = take_ready(&mut self.inner);
        let (signer, origins) = (self.signer.clone(), self.origins.clone());
        ResponseFuture(Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let is_signed = origins.include(&parts.uri)?;
            let body = read(body, MAX_BODY).await?;
            match is_signed {
                true => signer.sign_parts(&mut parts, Payload::Bytes(&body))?,
                false => signer.unsign(&mut parts)?,
            }
            inner.call(Request::from_parts(parts, Full::new(body))).await.map_err(Into::into)
        }))
    }
}

/// How much of a body is held in memory, in bytes.
const MAX_BODY: u64 = 2 * 1024 * 1024;

async fn read<B>(body: B, limit: u64) -> Result<Bytes, SignError>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    collect(body, limit).await.map_err(|error| match error {
        CollectError::TooLarge => SignError::without_source(format!(
            "the body has more than the {limit} bytes that are read of it: sign its digest and send it without this layer"
        )),
        CollectError::Broken(error) => SignError::new("the body could not be read", error),
    })
}

/// The future of [`Sign`].
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
