//! The body of a response, of which the start may have been read.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::refusal::MAX_BODY;

/// The most frames that are read at the start of a body.
const MAX_FRAMES: usize = 256;

/// The body of a response behind [`Sign`](super::Sign).
///
/// The service reads the start of a refusal's body. This body yields it again, and then the rest.
pub struct ResponseBody<B: Body> {
    read: VecDeque<Result<Frame<B::Data>, B::Error>>,
    /// `None` after its end.
    rest: Option<B>,
}

/// No field is pinned: `rest` is `Unpin` wherever it is polled.
impl<B: Body> Unpin for ResponseBody<B> {}

impl<B: Body<Data = Bytes> + Unpin> ResponseBody<B> {
    pub(super) fn new(body: B) -> Self {
        Self { read: VecDeque::new(), rest: Some(body) }
    }

    /// Reads the start of the body, of at most [`MAX_BODY`] bytes, and keeps what it read.
    pub(super) async fn read_start(&mut self) -> Vec<u8> {
        let mut start = Vec::new();
        while start.len() < MAX_BODY && self.read.len() < MAX_FRAMES {
            let Some(frame) = poll_fn(|context| self.poll_rest(context)).await else { break };
            if let Some(data) = frame.as_ref().ok().and_then(Frame::data_ref) {
                start.extend(data);
            }
            let is_error = frame.is_err();
            self.read.push_back(frame);
            if is_error {
                break;
            }
        }
        start
    }

    fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Some(rest) = &mut self.rest else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(rest).poll_frame(context));
        if frame.is_none() {
            self.rest = None;
        }
        Poll::Ready(frame)
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.read.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => self.poll_rest(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let read = self.read.iter().filter_map(|frame| frame.as_ref().ok()?.data_ref());
        let read: u64 = read.map(|data| data.len() as u64).sum();
        let rest = self.rest.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(read));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(read)) {
            hint.set_upper(upper);
        }
        hint
    }
}

impl<B: Body<Data = Bytes> + Unpin + Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::new(B::default())
    }
}

impl<B: Body> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseBody(..)")
    }
}
