//! Bodies on both sides of the verifier: what it takes, and what it hands on.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};

use super::{
    arriving::{Verified, VerifiedBody, broken},
    exemption::Waiver,
};
use crate::protocol::{BoxError, Rejection};

/// A request body that can be verified, and the type in which the service then gets it.
///
/// axum's `Body` becomes itself (feature `axum`), hyper's `Incoming` becomes [`ServiceBody`] (feature `hyper`). Any
/// other body is wrapped one line above the verifying layer, and becomes [`ServiceBody`] too. The trait is sealed.
///
/// ```
/// # use countersign::{Secret, VerifyLayer, StaticKeys, server::{ServiceBody, UnverifiedBody}};
/// # use http::{Request, Response};
/// # use tower::{ServiceBuilder, ServiceExt, service_fn};
/// # use tower_http::map_request_body::MapRequestBodyLayer;
/// # let keys = StaticKeys::new([("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?)]);
/// let service = ServiceBuilder::new()
///     .layer(MapRequestBodyLayer::new(UnverifiedBody::new))
///     .layer(VerifyLayer::new(keys))
///     .service(service_fn(|request: Request<ServiceBody>| async {
///         Ok::<_, std::convert::Infallible>(Response::new(request.into_body()))
///     }));
/// # let _ = service.oneshot(Request::new(String::new()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "the request body `{Self}` cannot be verified as it is",
    note = "axum's `Body` needs the feature `axum`, hyper's `Incoming` the feature `hyper`",
    note = "wrap any other body one line above: \
            `.layer(tower_http::map_request_body::MapRequestBodyLayer::new(countersign::server::UnverifiedBody::new))`"
)]
pub trait RequestBody: Body<Data = Bytes, Error: Into<BoxError>> + Send + sealed::Sealed + 'static {
    /// The body that the service gets.
    type ServiceBody: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static;

    #[doc(hidden)]
    fn verified(body: VerifiedBody) -> Self::ServiceBody;

    #[doc(hidden)]
    fn unverified(body: UnverifiedBody, waiver: Waiver) -> Self::ServiceBody;
}

pub(super) mod sealed {
    /// Keeps verified bodies in the hands of the verifier, and the trait free to grow.
    pub trait Sealed {}
}

/// The body that the service gets: what was signed, and nothing else; or as it came, where the request is
/// [exempt](crate::Verifier::with_exemption) or only [reported](crate::danger::ReportOnlyLayer).
#[derive(Debug, Default)]
pub struct ServiceBody(Kind);

#[derive(Debug)]
enum Kind {
    Whole(Full<Bytes>),
    Boxed(UnsyncBoxBody<Bytes, BodyError>),
}

impl Default for Kind {
    fn default() -> Self {
        Self::Whole(Full::default())
    }
}

impl ServiceBody {
    fn verified(body: VerifiedBody) -> Self {
        Self(match body.into_inner() {
            Verified::Whole(bytes) => Kind::Whole(Full::new(bytes)),
            Verified::Streamed(body, _) => Kind::Boxed(body),
            Verified::Watched(body, _) => return Self::passing(body),
        })
    }

    fn passing(body: UnverifiedBody) -> Self {
        Self(Kind::Boxed(body.map_err(|error| BodyError::new(broken(error))).boxed_unsync()))
    }

    /// A body for tests of services that take one. Nobody has signed it.
    #[cfg(feature = "test-util")]
    #[cfg_attr(docsrs, doc(cfg(feature = "test-util")))]
    #[must_use]
    pub fn for_test(bytes: impl Into<Bytes>) -> Self {
        Self(Kind::Whole(Full::new(bytes.into())))
    }
}

impl Body for ServiceBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Kind::Whole(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Kind::Boxed(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(body) => body.is_end_stream(),
            Kind::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(body) => body.size_hint(),
            Kind::Boxed(body) => body.size_hint(),
        }
    }
}

impl sealed::Sealed for ServiceBody {}

impl RequestBody for ServiceBody {
    type ServiceBody = Self;

    fn verified(body: VerifiedBody) -> Self {
        Self::verified(body)
    }

    fn unverified(body: UnverifiedBody, _: Waiver) -> Self {
        Self::passing(body)
    }
}

/// A body ends before its end: one [that streams](crate::Verifier::with_streamed_bodies) is refused, and what has come of
/// it is not what was signed; or one that is not verified broke off.
///
/// Around an axum `Body` it is a source of the error. The caller gets the rejection's answer, whatever the service says.
#[derive(Clone, Debug)]
pub struct BodyError(Arc<Rejection>);

impl BodyError {
    pub(super) fn new(rejection: Rejection) -> Self {
        Self(Arc::new(rejection))
    }

    /// Why: it does not have the signed digest, is too large, or broke off.
    #[must_use]
    pub fn rejection(&self) -> &Rejection {
        &self.0
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request's body was refused before its end")
    }
}

impl Error for BodyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

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

impl sealed::Sealed for UnverifiedBody {}

impl RequestBody for UnverifiedBody {
    type ServiceBody = ServiceBody;

    fn verified(body: VerifiedBody) -> ServiceBody {
        ServiceBody::verified(body)
    }

    fn unverified(body: UnverifiedBody, _: Waiver) -> ServiceBody {
        ServiceBody::passing(body)
    }
}

impl fmt::Debug for UnverifiedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnverifiedBody(..)")
    }
}

#[cfg(feature = "axum")]
impl sealed::Sealed for axum::body::Body {}

#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl RequestBody for axum::body::Body {
    type ServiceBody = Self;

    fn verified(body: VerifiedBody) -> Self {
        match body.into_inner() {
            Verified::Whole(bytes) if bytes.is_empty() => Self::empty(),
            Verified::Whole(bytes) => bytes.into(),
            Verified::Streamed(body, _) => Self::new(body),
            Verified::Watched(body, _) => passing_axum(body),
        }
    }

    fn unverified(body: UnverifiedBody, _: Waiver) -> Self {
        passing_axum(body)
    }
}

/// axum looks for the error of a limit no deeper than it wraps errors itself, so none is wrapped twice.
#[cfg(feature = "axum")]
fn passing_axum(body: UnverifiedBody) -> axum::body::Body {
    axum::body::Body::new(body.map_err(|error| match error.downcast::<axum::Error>() {
        Ok(error) => error.into_inner(),
        Err(error) => error,
    }))
}

#[cfg(feature = "hyper")]
impl sealed::Sealed for hyper::body::Incoming {}

#[cfg(feature = "hyper")]
#[cfg_attr(docsrs, doc(cfg(feature = "hyper")))]
impl RequestBody for hyper::body::Incoming {
    type ServiceBody = ServiceBody;

    fn verified(body: VerifiedBody) -> ServiceBody {
        ServiceBody::verified(body)
    }

    fn unverified(body: UnverifiedBody, _: Waiver) -> ServiceBody {
        ServiceBody::passing(body)
    }
}
