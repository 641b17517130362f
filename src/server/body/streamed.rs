//! A body that is forwarded while its digest is checked.

use std::{
    mem,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::{
    protocol::{BodyDigest, BoxError, Rejection},
    server::{
        body::check::{BodyError, Check, Length, broken, longer_by},
        outcome::BodyOutcomeRecorder,
    },
};

pin_project! {
    /// Holds the last data frame back until the digest matches. If it does not match, the service gets an error
    /// instead.
    ///
    /// The body does not report its end before that. A service that forwards a body of known length stops polling once
    /// that many bytes have arrived, and would otherwise forward a wrong body.
    pub(in crate::server) struct StreamedBody<B> {
        #[pin]
        body: B,
        // `None` after the body has ended.
        check: Option<Check>,
        held: Bytes,
        refusal: BodyRefusal,
        recorder: BodyOutcomeRecorder,
    }
}

/// The reason why a streamed body was rejected, if it was. The layer needs it for the response.
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct BodyRefusal(Arc<OnceLock<BodyError>>);

impl<B: Body> StreamedBody<B> {
    pub(in crate::server) fn new(
        body: B,
        digest: BodyDigest,
        length: Length,
        refusal: BodyRefusal,
        recorder: BodyOutcomeRecorder,
    ) -> Self {
        let check = Check::new(digest, length.at_most(&body));
        Self { body, check: Some(check), held: Bytes::new(), refusal, recorder }
    }
}

impl BodyRefusal {
    pub(in crate::server) fn rejection(&self) -> Option<&Rejection> {
        self.0.get().map(BodyError::rejection)
    }

    fn refuse(&self, rejection: Rejection) -> BodyError {
        self.0.get_or_init(|| BodyError::new(rejection)).clone()
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> Body for StreamedBody<B> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut this = self.project();
        while let Some(check) = this.check {
            let checked = match ready!(this.body.as_mut().poll_frame(context)) {
                // Trailers are not signed.
                Some(Ok(frame)) => {
                    let data = frame.into_data().unwrap_or_default();
                    check.take(&data).map(|()| data)
                }
                Some(Err(error)) => Err(broken(error)),
                None => match check.finish() {
                    Ok(()) => {
                        *this.check = None;
                        this.recorder.tell(Ok(()));
                        Ok(Bytes::new())
                    }
                    Err(rejection) => Err(rejection),
                },
            };
            match checked {
                // Skip empty frames: they must not release the held frame.
                Ok(data) if data.is_empty() => {}
                Ok(data) => match mem::replace(this.held, data) {
                    first if first.is_empty() => {}
                    held => return Poll::Ready(Some(Ok(Frame::data(held)))),
                },
                Err(rejection) => {
                    // Clear the held frame before reporting, in case an observer panics.
                    (*this.check, *this.held) = (None, Bytes::new());
                    this.recorder.tell(Err(&rejection));
                    return Poll::Ready(Some(Err(this.refusal.refuse(rejection))));
                }
            }
        }
        Poll::Ready(match mem::take(this.held) {
            held if held.is_empty() => None,
            held => Some(Ok(Frame::data(held))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.check.is_none() && self.held.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if self.check.is_none() {
            return SizeHint::with_exact(self.held.len() as u64);
        }
        longer_by(self.held.len(), self.body.size_hint())
    }
}
