//! The request bodies that a verifier accepts.

use bytes::Bytes;
use http_body::Body;
#[cfg(feature = "axum")]
use http_body_util::BodyExt;

#[cfg(feature = "axum")]
use crate::server::body::{admitted::Admitted, unverified::UnverifiedBody};
use crate::{protocol::BoxError, server::body::admitted::AdmittedBody};

/// A request body that can be verified. Its [`ServiceBody`](Self::ServiceBody) is the body type that the service gets.
/// The trait is sealed.
///
/// axum's `Body` stays an axum `Body` (feature `axum`). hyper's `Incoming` becomes a
/// [`ServiceBody`](crate::server::ServiceBody) (feature `hyper`). To verify any other body, add a layer outside the
/// verifying layer that wraps it in an [`UnverifiedBody`](crate::server::UnverifiedBody). It then becomes a
/// `ServiceBody` too.
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
/// Without this layer, the code does not compile, and the compiler error names the layer:
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

pub(in crate::server) mod sealed {
    /// Seals the trait, so that only the verifier makes verified bodies and the trait can get new methods.
    pub trait Sealed {}
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
            Admitted::Streamed(body) => Self::new(body),
            Admitted::Unchecked(body) => unchecked_axum_body(body),
        }
    }
}

/// Unwraps axum's errors before `Body::new` wraps them again. axum looks for a length-limit error only one wrapper
/// deep.
#[cfg(feature = "axum")]
fn unchecked_axum_body(body: UnverifiedBody) -> axum::body::Body {
    axum::body::Body::new(body.map_err(|error| match error.downcast::<axum::Error>() {
        Ok(error) => error.into_inner(),
        Err(error) => error,
    }))
}
