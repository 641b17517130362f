//! The body of a response, of which the start may have been read.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

/// The most frames that are kept of the start of a body.
#[cfg(feature = "client")]
const MAX_FRAMES: usize = 256;

pin_project! {
    /// The body of a response whose start a layer may have read: the signing layer reads that of a refusal, and
    /// `SubmitOnceLayer` that of an answer that it stores. This body yields the start again, and then the rest.
    pub struct ResponseBody<B: Body> {
        read: VecDeque<Result<Frame<B::Data>, B::Error>>,
        #[pin]
        rest: Rest<B>,
    }
}

pin_project! {
    #[project = RestProjection]
    enum Rest<B> {
        Unread { #[pin] body: B },
        // A body whose start was read. It cannot move any more.
        Started { body: Pin<Box<B>> },
        Ended,
    }
}

impl<B: Body> ResponseBody<B> {
    pub(crate) fn new(body: B) -> Self {
        Self { read: VecDeque::new(), rest: Rest::Unread { body } }
    }

    /// Makes a body that yields these frames, and then the rest, if there is more.
    #[cfg(feature = "submissions")]
    pub(crate) fn resume(
        read: impl IntoIterator<Item = Result<Frame<B::Data>, B::Error>>,
        rest: Option<Pin<Box<B>>>,
    ) -> Self {
        let rest = rest.map_or(Rest::Ended, |body| Rest::Started { body });
        Self { read: read.into_iter().collect(), rest }
    }

    /// Reads the start of a body, of at most `max` bytes. Returns it, and the body, which still yields all of it.
    #[cfg(feature = "client")]
    pub(crate) async fn read_start(body: B, max: usize) -> (Self, Vec<u8>) {
        let (mut body, mut read, mut start) = (Box::pin(body), VecDeque::new(), Vec::new());
        while start.len() < max && read.len() < MAX_FRAMES {
            let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await else {
                return (Self { read, rest: Rest::Ended }, start);
            };
            if let Some(data) = frame.as_ref().ok().and_then(Frame::data_ref) {
                let data = data.chunk();
                start.extend(&data[..data.len().min(max - start.len())]);
            }
            let is_error = frame.is_err();
            read.push_back(frame);
            if is_error {
                break;
            }
        }
        (Self { read, rest: Rest::Started { body } }, start)
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        if let Some(frame) = this.read.pop_front() {
            return Poll::Ready(Some(frame));
        }
        let frame = match this.rest.as_mut().project() {
            RestProjection::Unread { body } => return body.poll_frame(context),
            RestProjection::Started { body } => ready!(body.as_mut().poll_frame(context)),
            RestProjection::Ended => None,
        };
        if frame.is_none() {
            this.rest.set(Rest::Ended);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty()
            && match &self.rest {
                Rest::Unread { body } => body.is_end_stream(),
                Rest::Started { body } => body.is_end_stream(),
                Rest::Ended => true,
            }
    }

    fn size_hint(&self) -> SizeHint {
        let rest = match &self.rest {
            Rest::Unread { body } => return body.size_hint(),
            Rest::Started { body } => body.size_hint(),
            Rest::Ended => SizeHint::with_exact(0),
        };
        let read = self.read.iter().filter_map(|frame| frame.as_ref().ok()?.data_ref());
        let read: u64 = read.map(|data| data.remaining() as u64).sum();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(read));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(read)) {
            hint.set_upper(upper);
        }
        hint
    }
}

impl<B: Body + Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::new(B::default())
    }
}

impl<B: Body> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseBody(..)")
    }
}
