//! A body read whole, on either end.

use std::pin::pin;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;

use crate::protocol::BoxError;

/// A body that cannot be had whole.
pub(crate) enum CollectError {
    /// It has more bytes than the limit.
    TooLarge,
    /// It broke off.
    Broken(BoxError),
}

/// Reads up to `limit` bytes; trailers are dropped.
///
/// A body in one frame is not copied. The frames of any other are, so that what is held is the bytes, and not the
/// frames, of which whoever sends it can make one for each byte.
pub(crate) async fn collect<B>(body: B, limit: u64) -> Result<Bytes, CollectError>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let mut body = pin!(body);
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while !body.is_end_stream() {
        let data = match body.as_mut().frame().await {
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(error)) => return Err(CollectError::Broken(error.into())),
            None => break,
        };
        if (first.len() + rest.len() + data.len()) as u64 > limit {
            return Err(CollectError::TooLarge);
        }
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&std::mem::take(&mut first));
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}
