//! What is stored of the service's answer.

use std::{future::poll_fn, pin::Pin};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, Response, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, LOCATION, SET_COOKIE},
    response::Parts,
};
use http_body::{Body, Frame};

use crate::{protocol::HOP_BY_HOP, response_body::ResponseBody, server::is_no_store, store::StoredAnswer};

/// Reads an answer to a submission that was carried out, and returns it with what is stored of it.
///
/// The head alone is stored of an answer that is longer than `max` bytes, is meant for one reader or is streamed, has trailers,
/// or breaks off. If the head decides that, the body is not read.
pub(super) async fn read<B>(response: Response<B>, max: Option<usize>) -> (Response<ResponseBody<B>>, StoredAnswer)
where
    B: Body<Data = Bytes>,
{
    let (parts, body) = response.into_parts();
    let head = StoredAnswer::new(parts.status, parts.headers.get(LOCATION).cloned());
    let Some(max) = max.filter(|max| is_storable(&parts, &body, *max)) else {
        return (Response::from_parts(parts, ResponseBody::new(body)), head);
    };
    match start(body, max).await {
        Start::Whole(bytes) => {
            let answer = head.with_replay(stored_headers(&parts.headers), bytes.clone());
            let frame = (!bytes.is_empty()).then(|| Ok(Frame::data(bytes)));
            (Response::from_parts(parts, ResponseBody::resume(frame, None)), answer)
        }
        Start::Part(body) => (Response::from_parts(parts, body), head),
    }
}

fn is_storable(parts: &Parts, body: &impl Body, max: usize) -> bool {
    let is_event_stream = parts.headers.get_all(CONTENT_TYPE).iter().any(|value| {
        let essence = value.as_bytes().split(|&b| b == b';').next().unwrap_or_default();
        essence.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
    });
    parts.status != StatusCode::SWITCHING_PROTOCOLS
        && !parts.headers.contains_key(SET_COOKIE)
        && !is_no_store(&parts.headers)
        && !is_event_stream
        && body.size_hint().lower() <= max as u64
}

enum Start<B: Body> {
    Whole(Bytes),
    /// A body that is not stored. It still yields all of its bytes.
    Part(ResponseBody<B>),
}

/// Reads a body until it is clear whether it can be stored.
async fn start<B: Body<Data = Bytes>>(body: B, max: usize) -> Start<B> {
    let mut body = Box::pin(body);
    let mut bytes = Bytes::new();
    loop {
        match poll_fn(|context| body.as_mut().poll_frame(context)).await {
            None => return Start::Whole(bytes),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if bytes.len().saturating_add(data.len()) <= max => bytes = joined(bytes, data),
                Ok(data) => return part(bytes, Ok(Frame::data(data)), Some(body)),
                Err(trailers) => return part(bytes, Ok(trailers), Some(body)),
            },
            Some(Err(error)) => return part(bytes, Err(error), None),
        }
    }
}

/// A single frame is not copied.
fn joined(bytes: Bytes, data: Bytes) -> Bytes {
    match (bytes.is_empty(), data.is_empty()) {
        (true, _) => data,
        (_, true) => bytes,
        (false, false) => {
            let mut all = bytes::BytesMut::from(bytes);
            all.extend_from_slice(&data);
            all.freeze()
        }
    }
}

fn part<B>(bytes: Bytes, next: Result<Frame<Bytes>, B::Error>, rest: Option<Pin<Box<B>>>) -> Start<B>
where
    B: Body<Data = Bytes>,
{
    let read = (!bytes.is_empty()).then(|| Ok(Frame::data(bytes)));
    Start::Part(ResponseBody::resume(read.into_iter().chain([next]), rest))
}

/// The headers that are sent again: not those of the connection, of the time, of the request's origin, and of its place among
/// other requests.
fn stored_headers(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<&[u8]> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&b| b == b',').map(<[u8]>::trim_ascii))
        .collect();
    let is_stored = |name: &HeaderName| {
        let is_named = || named.iter().any(|named| named.eq_ignore_ascii_case(name.as_str().as_bytes()));
        let has_prefix = || PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix));
        !HOP_BY_HOP.contains(name) && !NAMES.contains(name) && !has_prefix() && !is_named()
    };
    let mut stored = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers.iter().filter(|(name, _)| is_stored(name)) {
        stored.append(name, value.clone());
    }
    stored
}

static NAMES: [HeaderName; 4] =
    [CONTENT_LENGTH, DATE, HeaderName::from_static("idempotency-replayed"), HeaderName::from_static("x-request-id")];

const PREFIXES: [&str; 3] = ["access-control-", "ratelimit-", "x-ratelimit-"];
