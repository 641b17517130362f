//! A body that can be replayed after the verifier has read a part of it.

use std::{
    error::Error,
    fmt, mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::{
    collect::Pieces,
    protocol::BoxError,
    server::{
        RequestBody, UnverifiedBody,
        body::{admitted::AdmittedBody, check::longer_by, request::sealed::Sealed},
    },
};

/// Reads a body and keeps the bytes that it has read.
pub(super) struct TeeBody<B>(Arc<Mutex<BodyBuffer<B>>>);

/// A handle that discards or replays the body of a [`TeeBody`].
pub(super) struct ReplayHandle<B>(Arc<Mutex<BodyBuffer<B>>>);

struct BodyBuffer<B> {
    body: Pin<Box<B>>,
    /// If `true`, the body must not be polled again.
    has_ended: bool,
    /// `None` after the buffer was discarded.
    read: Option<BufferedBody>,
}

#[derive(Default)]
struct BufferedBody {
    data: Pieces,
    trailers: Option<HeaderMap>,
    error: Option<SharedError>,
}

impl<B: RequestBody> TeeBody<B> {
    pub(super) fn new(body: B) -> (Self, ReplayHandle<B>) {
        let buffer = Arc::new(Mutex::new(BodyBuffer {
            body: Box::pin(body),
            has_ended: false,
            read: Some(BufferedBody::default()),
        }));
        (Self(buffer.clone()), ReplayHandle(buffer))
    }
}

impl<B: RequestBody> ReplayHandle<B> {
    /// Drops the kept bytes and stops keeping more.
    pub(super) fn discard(self) {
        lock(&self.0).read = None;
    }

    /// Returns the body from its start. The verifier does not read it any more.
    pub(super) fn replay(self) -> UnverifiedBody {
        let read = lock(&self.0).read.take().unwrap_or_default();
        UnverifiedBody::new(ReplayedBody { read, buffer: self.0 })
    }
}

fn lock<B>(buffer: &Mutex<BodyBuffer<B>>) -> MutexGuard<'_, BodyBuffer<B>> {
    buffer.lock().unwrap_or_else(PoisonError::into_inner)
}

impl BufferedBody {
    fn record(&mut self, frame: Result<Frame<Bytes>, BoxError>) -> Result<Frame<Bytes>, BoxError> {
        match frame {
            Ok(frame) => {
                match (frame.data_ref(), frame.trailers_ref()) {
                    (Some(data), _) => self.data.push(data, usize::MAX),
                    (None, trailers) => self.trailers = trailers.cloned(),
                }
                Ok(frame)
            }
            Err(error) => Err(self.error.insert(SharedError::new(error)).clone().into()),
        }
    }
}

impl<B: RequestBody> Body for TeeBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut buffer = lock(&self.0);
        let frame = ready!(buffer.body.as_mut().poll_frame(context)).map(|frame| frame.map_err(Into::into));
        buffer.has_ended |= frame.is_none();
        Poll::Ready(match buffer.read.as_mut() {
            Some(read) => frame.map(|frame| read.record(frame)),
            None => frame,
        })
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.0).body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.0).body.size_hint()
    }
}

impl<B: RequestBody> Sealed for TeeBody<B> {}

impl<B: RequestBody> RequestBody for TeeBody<B> {
    type ServiceBody = B::ServiceBody;

    fn from_admitted(body: AdmittedBody) -> B::ServiceBody {
        B::from_admitted(body)
    }
}

/// The kept bytes, then the rest of the body.
struct ReplayedBody<B> {
    read: BufferedBody,
    buffer: Arc<Mutex<BodyBuffer<B>>>,
}

impl<B: RequestBody> Body for ReplayedBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let read = &mut self.read;
        if read.data.len() > 0 {
            return Poll::Ready(Some(Ok(Frame::data(mem::take(&mut read.data).into_bytes()))));
        }
        if let Some(trailers) = read.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        if let Some(error) = read.error.take() {
            return Poll::Ready(Some(Err(error.into_inner())));
        }
        let mut buffer = lock(&self.buffer);
        match buffer.has_ended {
            true => Poll::Ready(None),
            false => buffer.body.as_mut().poll_frame(context).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        let BufferedBody { data, trailers, error } = &self.read;
        data.len() == 0 && trailers.is_none() && error.is_none() && lock(&self.buffer).body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        longer_by(self.read.data.len(), lock(&self.buffer).body.size_hint())
    }
}

/// An error that both the verifier and the service get.
#[derive(Clone, Debug)]
struct SharedError(Arc<BoxError>);

impl SharedError {
    fn new(error: BoxError) -> Self {
        Self(Arc::new(error))
    }

    /// Returns the error itself, if the verifier has dropped its clone.
    fn into_inner(self) -> BoxError {
        Arc::try_unwrap(self.0).unwrap_or_else(|shared| Self(shared).into())
    }
}

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for SharedError {
    /// Returns the error itself, so that callers can look for its type.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&**self.0)
    }
}
