//! A body that can be had back after the verifier has read of it.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::{
    protocol::BoxError,
    server::{
        RequestBody, UnverifiedBody, arriving::VerifiedBody, body::sealed::Sealed, exemption::Waiver,
        streamed::longer_by,
    },
};

/// Reads a body, and keeps what it has read.
pub(super) struct Recorded<B>(Arc<Mutex<Tape<B>>>);

/// What was read of a body, and the rest of it.
pub(super) struct Recording<B>(Arc<Mutex<Tape<B>>>);

struct Tape<B> {
    body: Pin<Box<B>>,
    is_recording: bool,
    data: BytesMut,
    trailers: Option<HeaderMap>,
    error: Option<SharedError>,
}

impl<B: RequestBody> Recorded<B> {
    pub(super) fn new(body: B) -> (Self, Recording<B>) {
        let body = Box::pin(body);
        let tape = Tape { body, is_recording: true, data: BytesMut::new(), trailers: None, error: None };
        let tape = Arc::new(Mutex::new(tape));
        (Self(tape.clone()), Recording(tape))
    }
}

impl<B: RequestBody> Recording<B> {
    /// Keeps nothing any more.
    pub(super) fn stop(self) {
        let mut tape = lock(&self.0);
        tape.is_recording = false;
        tape.data = BytesMut::new();
    }

    /// The body from its start. Its verifier reads no more of it.
    pub(super) fn play(self) -> UnverifiedBody {
        lock(&self.0).is_recording = false;
        UnverifiedBody::new(Playing(self.0))
    }
}

fn lock<B>(tape: &Mutex<Tape<B>>) -> MutexGuard<'_, Tape<B>> {
    tape.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B: RequestBody> Tape<B> {
    fn record(&mut self, frame: &Result<Frame<Bytes>, SharedError>) {
        match frame {
            Ok(frame) => match (frame.data_ref(), frame.trailers_ref()) {
                (Some(data), _) => self.data.extend_from_slice(data),
                (None, trailers) => self.trailers = trailers.cloned(),
            },
            Err(error) => self.error = Some(error.clone()),
        }
    }
}

impl<B: RequestBody> Body for Recorded<B> {
    type Data = Bytes;
    type Error = SharedError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, SharedError>>> {
        let mut tape = lock(&self.0);
        let frame = ready!(tape.body.as_mut().poll_frame(context)).map(|frame| frame.map_err(SharedError::new));
        if let Some(frame) = frame.as_ref().filter(|_| tape.is_recording) {
            tape.record(frame);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.0).body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.0).body.size_hint()
    }
}

impl<B: RequestBody> Sealed for Recorded<B> {}

impl<B: RequestBody> RequestBody for Recorded<B> {
    type ServiceBody = B::ServiceBody;

    fn verified(body: VerifiedBody) -> B::ServiceBody {
        B::verified(body)
    }

    fn unverified(body: UnverifiedBody, waiver: Waiver) -> B::ServiceBody {
        B::unverified(body, waiver)
    }
}

/// What was recorded, then the rest.
struct Playing<B>(Arc<Mutex<Tape<B>>>);

impl<B: RequestBody> Body for Playing<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut tape = lock(&self.0);
        if !tape.data.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut tape.data).freeze()))));
        }
        if let Some(trailers) = tape.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        if let Some(error) = tape.error.take() {
            return Poll::Ready(Some(Err(error.into())));
        }
        tape.body.as_mut().poll_frame(context).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        let tape = lock(&self.0);
        tape.data.is_empty() && tape.trailers.is_none() && tape.error.is_none() && tape.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let tape = lock(&self.0);
        longer_by(tape.data.len(), tape.body.size_hint())
    }
}

/// An error that both the verifier and the service are told.
#[derive(Clone, Debug)]
pub(super) struct SharedError(Arc<dyn Error + Send + Sync>);

impl SharedError {
    fn new(error: impl Into<BoxError>) -> Self {
        Self(error.into().into())
    }
}

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for SharedError {
    /// The error itself, for those who look for its type.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}
