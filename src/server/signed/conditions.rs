//! The responses that cannot be signed.

use http::{HeaderMap, header};

use crate::protocol::{Rejection, RejectionKind, trim};

/// Checks the head of a response that is to be signed.
pub(super) fn check_head(headers: &HeaderMap) -> Result<(), Rejection> {
    if headers.contains_key(header::TRAILER) {
        return Err(trailers());
    }
    let essence = headers.get(header::CONTENT_TYPE).map(|value| {
        let value = value.as_bytes();
        let end = value.iter().position(|&b| b == b';').unwrap_or(value.len());
        trim(value.get(..end).unwrap_or_default()).to_ascii_lowercase()
    });
    match essence.as_deref() {
        Some(b"text/event-stream") => Err(misconfigured(
            "a text/event-stream never ends, so it cannot be signed: take the route out of SignResponsesLayer",
        )),
        Some(essence) if is_grpc(essence) => Err(misconfigured(
            "gRPC puts its status into trailers, which are not signed: take the service out of SignResponsesLayer",
        )),
        _ => Ok(()),
    }
}

/// Whether this is `application/grpc`, also with a format, as in `application/grpc+proto`.
fn is_grpc(essence: &[u8]) -> bool {
    let rest = essence.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+')))
}

pub(super) fn trailers() -> Rejection {
    misconfigured("a response with trailers cannot be signed: take the route out of SignResponsesLayer")
}

pub(super) fn misconfigured(detail: impl Into<std::borrow::Cow<'static, str>>) -> Rejection {
    Rejection::new(RejectionKind::Misconfigured, detail)
}

/// The rejection that the caller gets. The operator has the reason.
pub(super) fn for_caller() -> Rejection {
    misconfigured("the service cannot sign its response: its operator finds the reason in its events")
}
