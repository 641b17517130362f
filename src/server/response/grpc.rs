//! Answers for gRPC: a status of its own in the headers, and no body.

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, WWW_AUTHENTICATE},
};

use crate::{
    protocol::{Rejection, RejectionKind, escape},
    server::response::renderer::RenderRejection,
};

/// Answers as gRPC services do: HTTP status 200, no body, and in the headers a `grpc-status` and a `grpc-message`. gRPC
/// calls this [Trailers-Only].
///
/// The message is `code: detail` of the [`Rejection`]. The [status] follows from the HTTP status that the rejection has
/// otherwise:
///
/// | HTTP | gRPC |
/// | --- | --- |
/// | 400, 414 | 3 `INVALID_ARGUMENT` |
/// | 401 | 16 `UNAUTHENTICATED` |
/// | 413 | 8 `RESOURCE_EXHAUSTED` |
/// | 500 | 13 `INTERNAL` |
/// | 503 | 14 `UNAVAILABLE` |
///
/// `cache-control`, `retry-after`, `x-error-code` and `x-server-time` are those of [`ProblemJson`](crate::server::ProblemJson); gRPC clients
/// see them as metadata. A problem itself they cannot read: they [guess] a status, `INTERNAL` for a 400, and lose the
/// reason.
///
/// The service chooses this for all its callers. It is never chosen by a request's own content type: whoever sends one
/// could then turn a refusal into a 200, for proxies, caches and logs that know HTTP only.
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
/// Answers stream. Requests do not: their bodies are read whole before they are signed, and again before the service is
/// called. So unary calls and streams from the server work; a stream from the client reaches the service once its last
/// message is sent; and a client that waits for an answer before it sends its next message waits forever.
///
/// # Metadata
///
/// Of the metadata nothing is signed but what [`with_signed_headers`](crate::Scheme::with_signed_headers) names. A
/// service that decompresses messages needs `grpc-encoding` there.
///
/// [Trailers-Only]: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
/// [guess]: https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
/// [status]: https://github.com/grpc/grpc/blob/master/doc/statuscodes.md
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct GrpcRejections {}

impl GrpcRejections {
    /// Answers that gRPC clients read.
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
        // What is encoded is a header's value. Were that to change, the status still says no.
        if let Ok(message) = HeaderValue::from_maybe_shared(encoded(&rejection.to_string())) {
            headers.insert(HeaderName::from_static("grpc-message"), message);
        }
        response
    }
}

fn status(kind: RejectionKind) -> &'static str {
    use RejectionKind::*;
    match kind {
        MissingField | MalformedField | MalformedParameters | QueryTooLong => "3",
        Unsigned | StaleTimestamp | InvalidSignature | InvalidToken | ReplayedNonce | BodyMismatch => "16",
        BodyTimeout => "4",
        BodyTooLarge => "8",
        Unavailable => "14",
        Misconfigured => "13",
    }
}

/// `Percent-Encoded` of the gRPC protocol: of the bytes of UTF-8, all but space and visible ASCII without `%` as `%XX`.
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
