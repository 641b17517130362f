//! Bodies that a verifier takes.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};

#[cfg(feature = "axum")]
use super::admitted::Admitted;
use super::{admitted::AdmittedBody, service_body::ServiceBody};
use crate::protocol::BoxError;

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
/// # let keys = StaticKeys::new([("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?)])?;
/// let service = ServiceBuilder::new()
///     .layer(MapRequestBodyLayer::new(UnverifiedBody::new))
///     .layer(VerifyLayer::new(keys))
///     .service(service_fn(|request: Request<ServiceBody>| async {
///         Ok::<_, std::convert::Infallible>(Response::new(request.into_body()))
///     }));
/// # let _ = service.oneshot(Request::new(String::new()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Without that line it does not compile, and the compiler says what is missing:
///
/// ```compile_fail,E0277
/// # use countersign::{Secret, StaticKeys, Verifier};
/// # async fn verify(verifier: Verifier<StaticKeys>) {
/// verifier.verify(http::Request::new(String::new())).await;
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "the request body `{Self}` cannot be verified as it is",
    note = "axum's `Body` needs the feature `axum`, hyper's `Incoming` the feature `hyper`",
    note = "wrap any other body one line above: \
            `.layer(tower_http::map_request_body::MapRequestBodyLayer::new(countersign::server::UnverifiedBody::new))`"
)]
pub trait RequestBody: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + sealed::Sealed + 'static {
    /// The body that the service gets.
    type ServiceBody: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static;

    #[doc(hidden)]
    fn from_admitted(body: AdmittedBody) -> Self::ServiceBody;
}

pub(super) mod sealed {
    /// Keeps verified bodies in the hands of the verifier, and the trait free to grow.
    pub trait Sealed {}
}

impl sealed::Sealed for ServiceBody {}

impl RequestBody for ServiceBody {
    type ServiceBody = Self;

    fn from_admitted(body: AdmittedBody) -> Self {
        Self::admitted(body)
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

    fn from_admitted(body: AdmittedBody) -> ServiceBody {
        ServiceBody::admitted(body)
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

    fn from_admitted(body: AdmittedBody) -> Self {
        match body.into_inner() {
            Admitted::Whole(bytes) if bytes.is_empty() => Self::empty(),
            Admitted::Whole(bytes) => bytes.into(),
            Admitted::Streamed(body, _) => Self::new(body),
            Admitted::Unchecked(body, _) => unchecked_axum_body(body),
        }
    }
}

/// axum looks for the error of a limit no deeper than it wraps errors itself, so none is wrapped twice.
#[cfg(feature = "axum")]
fn unchecked_axum_body(body: UnverifiedBody) -> axum::body::Body {
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

    fn from_admitted(body: AdmittedBody) -> ServiceBody {
        ServiceBody::admitted(body)
    }
}
