//! The body as the service gets it.

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
    admitted::{Admitted, AdmittedBody},
    arriving::broken,
};
use crate::protocol::Rejection;

/// The body that the service gets: the bytes that were signed. A request that
/// [bypasses](crate::Verifier::with_insecure_bypass) verification, or is only
/// [reported](crate::danger::ReportOnlyLayer), has its body as it came.
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
    pub(super) fn admitted(body: AdmittedBody) -> Self {
        Self(match body.into_inner() {
            Admitted::Whole(bytes) => Kind::Whole(Full::new(bytes)),
            Admitted::Streamed(body, _) => Kind::Boxed(body),
            Admitted::Unchecked(body, _) => {
                Kind::Boxed(body.map_err(|error| BodyError::new(broken(error))).boxed_unsync())
            }
        })
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

/// A body ends before its end: one [that streams](crate::Verifier::with_streamed_bodies) is refused, and what has come of
/// it is not what was signed; or one that is not verified broke off.
///
/// Around an axum `Body` it is a source of the error. The caller gets the rejection's answer in place of the service's,
/// unless that has begun before.
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
