//! The copy of an answer that a store in memory keeps, and its size.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use crate::store::submission::entry::{Finish, StoredAnswer};

/// What a header map takes for a header, beside the header's own bytes.
const HEADER: usize = 128;

/// Copies an end into memory of its own. The parts of an answer may be slices of much larger buffers, for example of
/// everything that was read from a socket, and a slice keeps its whole buffer.
pub(super) fn copy(end: &Finish) -> Finish {
    let Finish::Done(answer) = end else { return end.clone() };
    let copied = StoredAnswer::new(answer.status(), answer.location().map(copy_value));
    let Some((headers, body)) = answer.replay() else { return Finish::Done(copied) };
    let headers = headers.iter().map(|(name, value)| (copy_name(name), copy_value(value))).collect();
    Finish::Done(copied.with_replay(headers, Bytes::copy_from_slice(body)))
}

/// The size of the headers and the body of an answer. One that is not stored has none.
pub(super) fn bytes(answer: &StoredAnswer) -> usize {
    let Some((headers, body)) = answer.replay() else { return 0 };
    headers.iter().map(|(name, value)| HEADER + name.as_str().len() + value.len()).sum::<usize>() + body.len()
}

fn copy_name(name: &HeaderName) -> HeaderName {
    HeaderName::from_bytes(name.as_str().as_bytes()).unwrap_or_else(|_| name.clone())
}

fn copy_value(value: &HeaderValue) -> HeaderValue {
    let mut copied = HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone());
    copied.set_sensitive(value.is_sensitive());
    copied
}
