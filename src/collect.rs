//! A body read whole, on either end.

#[cfg(feature = "client")]
use std::pin::pin;
use std::{
    convert::Infallible,
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::Body;

use crate::protocol::BoxError;

/// A body that cannot be had whole.
pub(crate) enum CollectError<E = Infallible> {
    /// It has more bytes than the limit.
    TooLarge,
    /// It broke off.
    Broken(BoxError),
    /// There is no room to hold it.
    NoRoom(E),
}

/// Holds the bytes of a body while more of them are awaited.
pub(crate) trait Room {
    /// Why there is no room any more.
    type Error;

    /// Copies these bytes. The body has at most `limit` bytes in all.
    fn push(&mut self, data: &[u8], limit: usize) -> Result<(), Self::Error>;

    /// Is ready once there is no room any more, also for what is held already, and wakes the task then.
    fn poll_lost(&mut self, context: &mut Context<'_>) -> Poll<Self::Error>;

    /// Gives all of it back.
    fn take(&mut self) -> Result<Pieces, Self::Error>;
}

/// What of a body is there at once.
#[cfg(feature = "server")]
pub(crate) enum AtOnce {
    Whole(Bytes),
    /// Its first frame, or nothing yet.
    Start(Bytes),
}

/// Looks at the first frame of a body. Mostly it is the only one, and is not copied.
#[cfg(feature = "server")]
pub(crate) fn look_at_once<B>(body: &mut B, limit: u64, context: &mut Context<'_>) -> Result<AtOnce, CollectError>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    while !body.is_end_stream() {
        let data = match Pin::new(&mut *body).poll_frame(context) {
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

/// Reads up to `limit` bytes into memory without a bound in common; trailers are dropped.
#[cfg(feature = "client")]
pub(crate) async fn collect<B>(body: B, limit: u64) -> Result<Bytes, CollectError>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    Collect::new(pin!(body), Bytes::new(), limit, Pieces::default()).await
}

/// Reads up to a limit of bytes into a room; trailers are dropped.
///
/// A body whose one frame ends it at once is not copied. Of any other the bytes are held, and not the frames, of which
/// whoever sends it can make one for each byte, each with a whole buffer of the connection behind it.
pub(crate) struct Collect<B, R> {
    body: B,
    room: R,
    limit: u64,
    /// Of a body of known length no byte more than that is taken.
    most: usize,
    /// The first one, while there is no other.
    frame: Bytes,
    length: u64,
}

impl<B, R> Collect<B, R>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    R: Room + Unpin,
{
    /// `start` is what was read of it already.
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

/// Bytes in the order in which they were pushed. They take their own length in memory, and an eighth of it or 256 bytes
/// more, whichever is more; and as much again while they are put together at the end.
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

    /// How many bytes of memory [`push`](Self::push) takes for so many bytes more, where `limit` are the most in all.
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

    /// All of it in one.
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

/// Room without a bound in common.
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
