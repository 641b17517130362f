//! Bodies on both sides of the verifier: what it takes, and what it hands on.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};

use crate::protocol::BoxError;

/// A request body that can be verified, and the type in which the service then gets it.
///
/// axum's `Body` becomes itself (feature `axum`), hyper's `Incoming` becomes [`VerifiedBody`] (feature `hyper`). Any
/// other body is wrapped one line above the verifying layer, and becomes [`VerifiedBody`] too:
///
/// ```
/// # use countersign::{Secret, VerifyLayer, StaticKeys, server::{UnverifiedBody, VerifiedBody}};
/// # use http::{Request, Response};
/// # use tower::{ServiceBuilder, ServiceExt, service_fn};
/// # use tower_http::map_request_body::MapRequestBodyLayer;
/// # let keys = StaticKeys::new([("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?)]);
/// let service = ServiceBuilder::new()
///     .layer(MapRequestBodyLayer::new(UnverifiedBody::new))
///     .layer(VerifyLayer::new(keys))
///     .service(service_fn(|request: Request<VerifiedBody>| async {
///         Ok::<_, std::convert::Infallible>(Response::new(request.into_body()))
///     }));
/// # let _ = service.oneshot(Request::new(String::new()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "the request body `{Self}` cannot be verified as it is",
    note = "axum's `Body` needs the feature `axum`, hyper's `Incoming` the feature `hyper`",
    note = "wrap any other body one line above: `MapRequestBodyLayer::new(UnverifiedBody::new)`"
)]
pub trait RequestBody: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static {
    /// The body that the service gets.
    type Verified;

    /// Hands a verified body on.
    fn verified(body: VerifiedBody) -> Self::Verified;
}

/// The body of a verified request: what was signed, and nothing else.
///
/// Only a [`Verifier`](super::Verifier) makes one.
#[derive(Debug, Default)]
pub struct VerifiedBody(Full<Bytes>);

impl VerifiedBody {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self(Full::new(bytes))
    }
}

impl Body for VerifiedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.0).poll_frame(context).map_err(|never| match never {})
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl RequestBody for VerifiedBody {
    type Verified = Self;

    fn verified(body: VerifiedBody) -> Self {
        body
    }
}

/// A [`VerifiedBody`] broke off. Bodies that were read before the service was called do not.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct BodyError(BoxError);

/// Any body, boxed, on its way to the verifier. See [`RequestBody`].
pub struct UnverifiedBody(UnsyncBoxBody<Bytes, BoxError>);

impl UnverifiedBody {
    /// Takes a body of any type.
    pub fn new<B>(body: B) -> Self
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        Self(body.map_err(Into::into).boxed_unsync())
    }
}

impl Body for UnverifiedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.0).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl RequestBody for UnverifiedBody {
    type Verified = VerifiedBody;

    fn verified(body: VerifiedBody) -> VerifiedBody {
        body
    }
}

impl fmt::Debug for UnverifiedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnverifiedBody(..)")
    }
}

#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl RequestBody for axum_core::body::Body {
    type Verified = Self;

    fn verified(body: VerifiedBody) -> Self {
        match body.is_end_stream() {
            true => Self::empty(),
            false => Self::new(body),
        }
    }
}

#[cfg(feature = "hyper")]
#[cfg_attr(docsrs, doc(cfg(feature = "hyper")))]
impl RequestBody for hyper::body::Incoming {
    type Verified = VerifiedBody;

    fn verified(body: VerifiedBody) -> VerifiedBody {
        body
    }
}
