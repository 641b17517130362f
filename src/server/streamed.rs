//! A body that is handed on while its digest is checked.

use std::{
    mem,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::{
    arriving::{broken, mismatch, too_large},
    body::RequestBody,
    head::Length,
    outcome::BodyOutcomeRecorder,
    service_body::BodyError,
};
use crate::protocol::{BodyDigest, BodyHasher, Rejection};

pin_project! {
    /// Holds the last data frame back until the digest matches: in its place the service sees an error.
    ///
    /// Nor does it say before that it ends: who forwards a body of known length never asks for more once that many
    /// bytes are there, and would pass a wrong body on.
    pub(super) struct StreamedBody<B> {
        #[pin]
        body: B,
        // None when it has ended.
        check: Option<Check>,
        held: Bytes,
        refusal: BodyRefusal,
        recorder: BodyOutcomeRecorder,
    }
}

/// Why a streamed body was refused, once it is: for the answer, which the service can no longer give.
#[derive(Clone, Debug, Default)]
pub(super) struct BodyRefusal(Arc<OnceLock<BodyError>>);

impl<B: RequestBody> StreamedBody<B> {
    pub(super) fn new(
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
    pub(super) fn rejection(&self) -> Option<&Rejection> {
        self.0.get().map(BodyError::rejection)
    }

    fn refuse(&self, rejection: Rejection) -> BodyError {
        self.0.get_or_init(|| BodyError::new(rejection)).clone()
    }
}

impl<B: RequestBody> Body for StreamedBody<B> {
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
                // Empty frames are skipped: one of them does not make the frame before it another one's than the last.
                Ok(data) if data.is_empty() => {}
                Ok(data) => match mem::replace(this.held, data) {
                    first if first.is_empty() => {}
                    held => return Poll::Ready(Some(Ok(Frame::data(held)))),
                },
                Err(rejection) => {
                    // Before anybody is told: nothing that they do may set free what is held.
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

/// The length of a body of which some bytes were read already.
pub(super) fn longer_by(bytes: usize, rest: SizeHint) -> SizeHint {
    let mut hint = SizeHint::new();
    hint.set_lower(rest.lower().saturating_add(bytes as u64));
    if let Some(upper) = rest.upper() {
        hint.set_upper(upper.saturating_add(bytes as u64));
    }
    hint
}

/// The check of a body, as far as it has come.
pub(super) struct Check {
    hasher: BodyHasher,
    digest: BodyDigest,
    received: u64,
    length: Length,
}

impl Check {
    pub(super) fn new(digest: BodyDigest, length: Length) -> Self {
        Self { hasher: BodyHasher::new(), digest, received: 0, length }
    }

    /// Checks the length as well: whoever forwards as many bytes as were declared is done then, whatever follows.
    pub(super) fn take(&mut self, data: &[u8]) -> Result<(), Rejection> {
        self.received = self.received.saturating_add(data.len() as u64);
        if self.received > self.length.limit {
            return Err(too_large(self.length.limit));
        }
        if self.length.declared.is_some_and(|declared| self.received > declared) {
            return Err(Rejection::malformed("content-length", "the body has more bytes than it says"));
        }
        self.hasher.update(data);
        Ok(())
    }

    /// Whether as many bytes are there as were declared: whoever forwards that many asks for no more.
    pub(super) fn is_full(&self) -> bool {
        self.length.declared == Some(self.received)
    }

    /// After the last of it.
    pub(super) fn finish(&mut self) -> Result<(), Rejection> {
        if self.length.declared.is_some_and(|declared| self.received < declared) {
            return Err(Rejection::malformed("body", "it broke off before its end"));
        }
        if mem::take(&mut self.hasher).finish() == self.digest { Ok(()) } else { Err(mismatch()) }
    }
}
