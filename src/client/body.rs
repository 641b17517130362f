//! The body of a signed request.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};

use crate::protocol::BoxError;

/// The body of the requests that [`Sign`](super::Sign) passes to its client: buffered bytes that were hashed, or a
/// stream whose digest came with the request.
///
/// The client inside a [`SignLayer`](crate::SignLayer) must accept this type.
#[derive(Default)]
pub struct SignedBody(Kind);

enum Kind {
    Whole(Full<Bytes>),
    Streamed(UnsyncBoxBody<Bytes, BoxError>),
}

impl Default for Kind {
    fn default() -> Self {
        Self::Whole(Full::default())
    }
}

impl SignedBody {
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self(Kind::Whole(Full::new(bytes)))
    }

    /// Clones the body. Returns `None` if it is a stream.
    #[must_use]
    pub fn try_clone(&self) -> Option<Self> {
        match &self.0 {
            Kind::Whole(body) => Some(Self(Kind::Whole(body.clone()))),
            Kind::Streamed(_) => None,
        }
    }

    pub(super) fn streamed<B>(body: B) -> Self
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        Self(Kind::Streamed(body.map_err(Into::into).boxed_unsync()))
    }
}

impl Body for SignedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Kind::Whole(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Kind::Streamed(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(body) => body.is_end_stream(),
            Kind::Streamed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(body) => body.size_hint(),
            Kind::Streamed(body) => body.size_hint(),
        }
    }
}

impl fmt::Debug for SignedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignedBody(..)")
    }
}
