//! Buffers a complete body, on the server and on the client.

#[cfg(feature = "server")]
use std::future::poll_fn;
use std::{
    convert::Infallible,
    mem,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::Body;

use crate::protocol::BoxError;

/// The error of a body that cannot be buffered.
pub(crate) enum CollectError<E = Infallible> {
    /// The body is larger than the limit.
    TooLarge,
    /// The body failed before its end.
    Broken(BoxError),
    /// There is no room to buffer the body.
    NoRoom(E),
}

/// A buffer for the bytes of a body that is being read.
pub(crate) trait Room {
    /// The reason why there is no more room.
    type Error;

    /// Copies these bytes into the buffer. The whole body has at most `limit` bytes.
    fn push(&mut self, data: &[u8], limit: usize) -> Result<(), Self::Error>;

    /// Resolves when the room is lost, including the room of the bytes buffered so far, and wakes the task then.
    fn poll_lost(&mut self, context: &mut Context<'_>) -> Poll<Self::Error>;

    /// Returns all buffered bytes.
    fn take(&mut self) -> Result<Pieces, Self::Error>;
}

/// The part of a body that is available at once.
#[cfg(feature = "server")]
pub(crate) enum AtOnce {
    Whole(Bytes),
    /// The first frame, or no data yet.
    Start(Bytes),
}

/// Polls the first frame of a body. Usually it is the only one and is not copied.
#[cfg(feature = "server")]
pub(crate) async fn look_at_once<B>(body: &mut B, limit: u64) -> Result<AtOnce, CollectError>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    while !body.is_end_stream() {
        // A single poll, without waiting. `Collect` polls again.
        let data = match poll_fn(|context| Poll::Ready(Pin::new(&mut *body).poll_frame(context))).await {
            Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            Poll::Ready(Some(Err(error))) => return Err(CollectError::Broken(error.into())),
            Poll::Ready(None) => break,
            Poll::Pending => return Ok(AtOnce::Start(Bytes::new())),
        };
        match data.len() as u64 {
            0 => {}
            length if length > limit => return Err(CollectError::TooLarge),
            _ if body.is_end_stream() => return Ok(AtOnce::Whole(data)),
            _ => return Ok(AtOnce::Start(data)),
        }
    }
    Ok(AtOnce::Whole(Bytes::new()))
}

/// Reads up to `limit` bytes into memory. No shared limit applies. Drops trailers.
pub(crate) async fn collect<B>(body: B, limit: u64) -> Result<Bytes, CollectError>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    Collect::new(pin!(body), Bytes::new(), limit, Pieces::default()).await
}

/// Reads a body up to a limit into a buffer. Drops trailers.
///
/// A body with a single frame that ends it is not copied. For other bodies the buffer holds the bytes and not the
/// frames. A sender could make one frame for each byte, and each frame would keep a whole connection buffer in memory.
pub(crate) struct Collect<B, R> {
    body: B,
    room: R,
    limit: u64,
    /// The maximum number of bytes: the limit, or the known length of the body if that is less.
    most: usize,
    /// The first frame, until a second one arrives.
    frame: Bytes,
    length: u64,
}

impl<B, R> Collect<B, R>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    R: Room + Unpin,
{
    /// Creates the future. `start` holds the bytes that were already read.
    pub(crate) fn new(body: B, start: Bytes, limit: u64, room: R) -> Self {
        let length = start.len() as u64;
        let most = body.size_hint().upper().map_or(limit, |rest| rest.saturating_add(length)).min(limit);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Self { body, room, limit, most, frame: start, length }
    }

    fn take(&mut self, data: Bytes) -> Result<(), CollectError<R::Error>> {
        self.length = self.length.saturating_add(data.len() as u64);
        if self.length > self.limit {
            return Err(CollectError::TooLarge);
        }
        if self.length == data.len() as u64 {
            self.frame = data;
            return Ok(());
        }
        self.push_frame()?;
        self.room.push(&data, self.most).map_err(CollectError::NoRoom)
    }

    fn push_frame(&mut self) -> Result<(), CollectError<R::Error>> {
        match mem::take(&mut self.frame) {
            frame if frame.is_empty() => Ok(()),
            frame => self.room.push(&frame, self.most).map_err(CollectError::NoRoom),
        }
    }
}

impl<B, R> Future for Collect<B, R>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    R: Room + Unpin,
{
    type Output = Result<Bytes, CollectError<R::Error>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        while !this.body.is_end_stream() {
            match Pin::new(&mut this.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => this.take(data)?,
                    _ => {}
                },
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(CollectError::Broken(error.into()))),
                Poll::Ready(None) => break,
                Poll::Pending => {
                    this.push_frame()?;
                    return this.room.poll_lost(context).map(|lost| Err(CollectError::NoRoom(lost)));
                }
            }
        }
        if !this.frame.is_empty() {
            return Poll::Ready(Ok(mem::take(&mut this.frame)));
        }
        Poll::Ready(this.room.take().map(Pieces::into_bytes).map_err(CollectError::NoRoom))
    }
}

/// A buffer of bytes in push order. It takes the length of the bytes in memory, plus an eighth of it or 256 bytes,
/// whichever is more. It takes as much again while the bytes are joined at the end.
#[derive(Default)]
pub(crate) struct Pieces {
    full: Vec<Vec<u8>>,
    last: Vec<u8>,
    length: usize,
}

impl Pieces {
    #[cfg(feature = "server")]
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Returns how many bytes [`push`](Self::push) allocates for `more` bytes, if `limit` is the maximum length.
    pub(crate) fn growth(&self, more: usize, limit: usize) -> usize {
        let spare = self.last.capacity() - self.last.len();
        let Some(needed) = more.checked_sub(spare).filter(|&needed| needed > 0) else {
            return 0;
        };
        let left = limit.saturating_sub(self.length.saturating_add(spare));
        needed.max((self.length / 8).clamp(256, 64 * 1024).min(left))
    }

    pub(crate) fn push(&mut self, data: &[u8], limit: usize) {
        let growth = self.growth(data.len(), limit);
        let (head, tail) = data.split_at(data.len().min(self.last.capacity() - self.last.len()));
        self.last.extend_from_slice(head);
        if growth > 0 {
            let mut next = Vec::with_capacity(growth);
            next.extend_from_slice(tail);
            self.full.extend(Some(mem::replace(&mut self.last, next)).filter(|full| !full.is_empty()));
        }
        self.length += data.len();
    }

    /// Joins all bytes.
    pub(crate) fn into_bytes(mut self) -> Bytes {
        if self.full.is_empty() {
            return self.last.into();
        }
        let mut whole = Vec::with_capacity(self.length);
        for piece in self.full.drain(..) {
            whole.extend_from_slice(&piece);
        }
        whole.extend_from_slice(&self.last);
        whole.into()
    }
}

/// A buffer without a shared limit.
impl Room for Pieces {
    type Error = Infallible;

    fn push(&mut self, data: &[u8], limit: usize) -> Result<(), Infallible> {
        Pieces::push(self, data, limit);
        Ok(())
    }

    fn poll_lost(&mut self, _: &mut Context<'_>) -> Poll<Infallible> {
        Poll::Pending
    }

    fn take(&mut self) -> Result<Pieces, Infallible> {
        Ok(mem::take(self))
    }
}
