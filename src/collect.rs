//! A body read whole, on either end.

use std::{
    convert::Infallible,
    future::poll_fn,
    mem,
    pin::pin,
    task::{Context, Poll, ready},
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

/// Reads up to `limit` bytes into memory without a bound in common; trailers are dropped.
///
/// A body whose one frame ends it at once is not copied. Of any other the bytes are held, and not the frames, of which
/// whoever sends it can make one for each byte, each with a whole buffer of the connection behind it.
#[cfg(feature = "client")]
pub(crate) async fn collect<B>(body: B, limit: u64) -> Result<Bytes, CollectError>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    collect_in(body, limit, Pieces::default()).await
}

/// The same in this room.
pub(crate) async fn collect_in<B, R>(body: B, limit: u64, mut room: R) -> Result<Bytes, CollectError<R::Error>>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
    R: Room,
{
    let mut body = pin!(body);
    let (mut frame, mut length) = (Bytes::new(), 0_u64);
    // Of a body of known length no byte more than that is taken.
    let most = usize::try_from(body.size_hint().upper().unwrap_or(limit).min(limit)).unwrap_or(usize::MAX);
    poll_fn(|context| {
        while !body.is_end_stream() {
            let data = match body.as_mut().poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(CollectError::Broken(error.into()))),
                Poll::Ready(None) => break,
                Poll::Pending => {
                    if !frame.is_empty() {
                        room.push(&mem::take(&mut frame), most).map_err(CollectError::NoRoom)?;
                    }
                    return Poll::Ready(Err(CollectError::NoRoom(ready!(room.poll_lost(context)))));
                }
            };
            if data.is_empty() {
                continue;
            }
            length = length.saturating_add(data.len() as u64);
            if length > limit {
                return Poll::Ready(Err(CollectError::TooLarge));
            }
            if length > data.len() as u64 {
                for data in [mem::take(&mut frame), data].iter().filter(|data| !data.is_empty()) {
                    room.push(data, most).map_err(CollectError::NoRoom)?;
                }
            } else {
                frame = data;
            }
        }
        Poll::Ready(Ok(()))
    })
    .await?;
    if !frame.is_empty() {
        return Ok(frame);
    }
    let pieces = room.take().map_err(CollectError::NoRoom)?;
    drop(room);
    Ok(pieces.into_bytes())
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
