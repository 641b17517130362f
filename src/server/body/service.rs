//! The body that the service gets.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};

use crate::server::body::{
    admitted::{Admitted, AdmittedBody},
    check::{BodyError, broken},
    request::{RequestBody, sealed::Sealed},
    unverified::UnverifiedBody,
};

/// The request body that the service gets: the signed bytes. A request that
/// [bypasses](crate::Verifier::with_insecure_bypass) verification, or is only
/// [reported](crate::danger::ReportOnlyLayer), keeps its body unchanged.
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
    pub(in crate::server) fn admitted(body: AdmittedBody) -> Self {
        Self(match body.into_inner() {
            Admitted::Whole(bytes) => Kind::Whole(Full::new(bytes)),
            Admitted::Streamed(body) => Kind::Boxed(body),
            Admitted::Unchecked(body) => {
                Kind::Boxed(body.map_err(|error| BodyError::new(broken(error))).boxed_unsync())
            }
        })
    }

    /// Makes a body for tests of services. It is not verified.
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

impl Sealed for ServiceBody {}

impl RequestBody for ServiceBody {
    type ServiceBody = Self;

    fn from_admitted(body: AdmittedBody) -> Self {
        Self::admitted(body)
    }
}

impl Sealed for UnverifiedBody {}

impl RequestBody for UnverifiedBody {
    type ServiceBody = ServiceBody;

    fn from_admitted(body: AdmittedBody) -> ServiceBody {
        ServiceBody::admitted(body)
    }
}

#[cfg(feature = "hyper")]
impl Sealed for hyper::body::Incoming {}

#[cfg(feature = "hyper")]
#[cfg_attr(docsrs, doc(cfg(feature = "hyper")))]
impl RequestBody for hyper::body::Incoming {
    type ServiceBody = ServiceBody;

    fn from_admitted(body: AdmittedBody) -> ServiceBody {
        ServiceBody::admitted(body)
    }
}
