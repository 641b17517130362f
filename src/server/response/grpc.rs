//! Responses for gRPC: a gRPC status in the headers, and no body.

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, WWW_AUTHENTICATE},
};

use crate::{
    protocol::{Rejection, RejectionKind, escape},
    server::response::renderer::RenderRejection,
};

/// Responds as gRPC services do: with HTTP status 200, no body, and a `grpc-status` and a `grpc-message` header. gRPC
/// calls this [Trailers-Only].
///
/// The message is `code: detail` of the [`Rejection`]. The [status] depends on the [kind](RejectionKind) of the
/// rejection:
///
/// | HTTP status with `ProblemJson` | gRPC status |
/// | --- | --- |
/// | 400, 414 | 3 `INVALID_ARGUMENT` |
/// | 400 `body_timeout` | 4 `DEADLINE_EXCEEDED` |
/// | 401 | 16 `UNAUTHENTICATED` |
/// | 403 | 7 `PERMISSION_DENIED` |
/// | 413, 429 | 8 `RESOURCE_EXHAUSTED` |
/// | 500 | 13 `INTERNAL` |
/// | 503 | 14 `UNAVAILABLE` |
///
/// `cache-control`, `retry-after`, `x-error-code` and `x-server-time` are the same as with
/// [`ProblemJson`](crate::server::ProblemJson). gRPC clients see them as metadata. gRPC clients cannot read the JSON of
/// `ProblemJson`. They [guess] a status from the HTTP status, for example `INTERNAL` for a 400, and lose the reason.
///
/// The renderer applies to all callers of the service. It ignores the content type of a request. Otherwise a caller
/// could choose whether proxies, caches and logs see a rejection as a 200.
///
/// ```
/// # use countersign::{Secret, StaticKeys, VerifyLayer, server::{GrpcRejections, UnverifiedBody}};
/// # use tower_http::map_request_body::MapRequestBodyLayer;
/// # let keys = StaticKeys::new([("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?)])?;
/// # let (_, service) = tonic_health::server::health_reporter();
/// let serving = tonic::transport::Server::builder()
///     .layer(MapRequestBodyLayer::new(UnverifiedBody::new))
///     .layer(VerifyLayer::new(keys).with_renderer(GrpcRejections::new()))
///     .add_service(service)
///     .serve("127.0.0.1:50051".parse()?);
/// # drop(serving);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Streams
///
/// Responses can be streamed. Requests cannot: their bodies are buffered before the client signs them, and again before
/// the service is called. Unary calls and server streaming therefore work. A client stream reaches the service only
/// after its last message is sent. A client that waits for a response before it sends its next message waits forever.
///
/// # Metadata
///
/// Only the metadata that [`with_signed_headers`](crate::Scheme::with_signed_headers) names is signed. If a service
/// decompresses messages, sign `grpc-encoding`.
///
/// [Trailers-Only]: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
/// [guess]: https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
/// [status]: https://github.com/grpc/grpc/blob/master/doc/statuscodes.md
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct GrpcRejections {}

impl GrpcRejections {
    /// Makes a renderer for gRPC clients.
    #[must_use]
    pub fn new() -> Self {
        Self {}
    }
}

impl RenderRejection for GrpcRejections {
    fn render(&self, rejection: &Rejection) -> Response<Bytes> {
        let mut response = rejection.to_response().map(|_| Bytes::new());
        *response.status_mut() = StatusCode::OK;
        let headers = response.headers_mut();
        headers.remove(WWW_AUTHENTICATE);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from_static(status(rejection.kind())));
        // The encoded text is always a valid header value. If that changed, the status would still signal the error.
        if let Ok(message) = HeaderValue::from_maybe_shared(encoded(&rejection.to_string())) {
            headers.insert(HeaderName::from_static("grpc-message"), message);
        }
        response
    }
}

fn status(kind: RejectionKind) -> &'static str {
    use RejectionKind::*;
    match kind {
        MissingField | MalformedField | MalformedParameters | QueryTooLong | IdempotencyKeyReused => "3",
        DuplicateSubmission => "6",
        TokenNotAllowed | KeyNotAllowed | ExpiredLink => "7",
        SubmissionInProgress | SubmissionOutcomeUnknown => "10",
        MethodNotAllowed => "12",
        Unsigned | StaleTimestamp | InvalidSignature | InvalidToken | MissingToken | ReplayedNonce | BodyMismatch => {
            "16"
        }
        BodyTimeout => "4",
        BodyTooLarge | TooManySessions => "8",
        Unavailable => "14",
        Misconfigured => "13",
    }
}

/// Encodes as `Percent-Encoded` of the gRPC protocol: each byte of the UTF-8 text becomes `%XX`, except space and
/// visible ASCII other than `%`.
fn encoded(text: &str) -> Bytes {
    let mut encoded = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'$' | b'&'..=b'~' => encoded.push(byte),
            _ => encoded.extend(escape(byte)),
        }
    }
    encoded.into()
}
