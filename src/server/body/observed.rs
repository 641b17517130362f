//! A body that is forwarded as it arrives, and whose verdict is reported at its end.

use std::{
    fmt,
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
        body::check::{Check, Length, broken_by},
        outcome::BodyOutcomeRecorder,
    },
};

pin_project! {
    /// Checks the frames that it forwards, and rejects nothing.
    pub(in crate::server) struct ObservedBody<B> {
        #[pin]
        body: B,
        // `Some` until the verdict is reported.
        check: Option<Check>,
        hook: VerdictHook,
        recorder: BodyOutcomeRecorder,
    }

    impl<B> PinnedDrop for ObservedBody<B> {
        fn drop(this: Pin<&mut Self>) {
            // The service has dropped the body early. Bytes that it does not read are not checked.
            let this = this.project();
            if this.check.take().is_some() {
                this.hook.tell(Ok(()));
            }
        }
    }
}

/// The hook that gets the verdict on a body.
#[derive(Clone, Default)]
pub(in crate::server) struct VerdictHook(Arc<OnceLock<Tell>>);

type Tell = Box<dyn Fn(Result<(), &Rejection>) + Send + Sync>;

impl VerdictHook {
    /// Sets the closure. Call it before the service reads the body.
    pub(in crate::server) fn then(&self, tell: impl Fn(Result<(), &Rejection>) + Send + Sync + 'static) {
        // A second call has no effect.
        let _ = self.0.set(Box::new(tell));
    }

    fn tell(&self, verdict: Result<(), &Rejection>) {
        if let Some(tell) = self.0.get() {
            tell(verdict);
        }
    }
}

impl<B: Body> ObservedBody<B> {
    pub(in crate::server) fn new(
        body: B,
        digest: BodyDigest,
        length: Length,
        hook: VerdictHook,
        recorder: BodyOutcomeRecorder,
    ) -> Self {
        Self { check: Some(Check::new(digest, length.at_most(&body))), body, hook, recorder }
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> Body for ObservedBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        let frame = ready!(this.body.as_mut().poll_frame(context));
        let frame = frame.map(|frame| frame.map_err(|error| error.into()));
        if let Some(check) = this.check
            && let Some(verdict) = verdict_of(check, frame.as_ref(), this.body.is_end_stream())
        {
            *this.check = None;
            this.recorder.tell(verdict.as_ref().copied());
            this.hook.tell(verdict.as_ref().copied());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Returns the verdict after the last frame. A service that knows a body's length does not poll again after that frame.
fn verdict_of(
    check: &mut Check,
    frame: Option<&Result<Frame<Bytes>, BoxError>>,
    has_ended: bool,
) -> Option<Result<(), Rejection>> {
    let taken = match frame {
        Some(Ok(frame)) => check.take(frame.data_ref().map_or(&[], |data| data)),
        Some(Err(error)) => Err(broken_by(&**error)),
        None => Ok(()),
    };
    match taken {
        Ok(()) if has_ended || frame.is_none() || check.is_full() => Some(check.finish()),
        Ok(()) => None,
        refused => Some(refused),
    }
}

impl fmt::Debug for VerdictHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerdictHook(..)")
    }
}
