//! Buffers the body of a response that is to be signed.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::conditions::{misconfigured, trailers};
use crate::{
    collect::{CollectError, collect},
    protocol::{BoxError, Rejection},
};

/// Reads a whole body of at most `limit` bytes.
pub(super) async fn read<B>(body: B, limit: u64) -> Result<Bytes, Rejection>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    if body.size_hint().lower() > limit {
        return Err(too_large(limit));
    }
    match collect(WithoutTrailers { body }, limit).await {
        Ok(bytes) => Ok(bytes),
        Err(CollectError::TooLarge) => Err(too_large(limit)),
        Err(CollectError::Broken(error)) if error.is::<Trailers>() => Err(trailers()),
        Err(CollectError::Broken(error)) => {
            Err(misconfigured("the body of a response that is to be signed failed before its end").with_source(error))
        }
        Err(CollectError::NoRoom(never)) => match never {},
    }
}

fn too_large(limit: u64) -> Rejection {
    misconfigured(format!(
        "a response that is to be signed has more than {limit} bytes: raise SignResponsesLayer::with_max_body, or take the route \
         out of the layer"
    ))
}

#[derive(Debug, thiserror::Error)]
#[error("the body has trailers")]
struct Trailers;

pin_project! {
    /// A body that fails if it has trailers, instead of losing them.
    struct WithoutTrailers<B> {
        #[pin]
        body: B,
    }
}

impl<B: Body<Error: Into<BoxError>>> Body for WithoutTrailers<B> {
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        self.project().body.poll_frame(context).map(|frame| match frame? {
            Ok(frame) if frame.is_trailers() => Some(Err(Trailers.into())),
            frame => Some(frame.map_err(Into::into)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
