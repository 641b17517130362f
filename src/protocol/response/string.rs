//! The string to sign of a response.

use http::{HeaderMap, HeaderName, StatusCode, header};

use crate::protocol::{
    canonical::content_type::ContentType,
    encode::{grammar::trim, sink::Sink},
    field::{
        digest::BodyDigest,
        value::{AppId, Timestamp},
    },
    rejection::Rejection,
    response::sent::SentRequest,
    scheme::contract::Scheme,
};

/// The signed parts of a response's head.
pub(super) struct ResponseHead<'r> {
    status: StatusCode,
    content_type: ContentType<'r>,
    /// All headers.
    headers: &'r HeaderMap,
    further: &'r [HeaderName],
}

impl<'r> ResponseHead<'r> {
    /// Fails if there are two content types, or a malformed one.
    pub(super) fn read(scheme: &'r Scheme, status: StatusCode, headers: &'r HeaderMap) -> Result<Self, Rejection> {
        let content_type = ContentType::read(&scheme.header_table().find_in(headers))?;
        Ok(Self { status, content_type, headers, further: scheme.signed_response_headers() })
    }
}

/// The string to sign of a response to a request.
pub(super) struct ResponseString<'a> {
    pub(super) head: &'a ResponseHead<'a>,
    pub(super) digest: BodyDigest,
    pub(super) app_id: &'a AppId,
    pub(super) sent: &'a SentRequest,
    pub(super) timestamp: Timestamp,
}

impl ResponseString<'_> {
    /// Writes the lines, separated by LF. Only the key's line can contain an LF.
    pub(super) fn write(&self, out: &mut impl Sink) {
        let ResponseHead { status, content_type, headers, further } = self.head;
        out.put(b"CS1-RESPONSE");
        out.line(status.as_str());
        out.line("");
        content_type.write(out);
        put_header(out, headers, &header::CONTENT_ENCODING);
        put_header(out, headers, &header::CONTENT_RANGE);
        out.line("");
        out.put(self.digest.to_hex().as_bytes());
        for name in *further {
            put_header(out, headers, name);
        }
        out.line(self.app_id.as_str());
        out.line("");
        out.put(self.sent.sign().to_hex().as_bytes());
        out.line("");
        out.put_key();
        out.line(itoa::Buffer::new().format(self.timestamp.unix_seconds()));
    }
}

/// Writes the line of a header: its name, and after a colon its values, joined by `, `.
fn put_header(out: &mut impl Sink, headers: &HeaderMap, name: &HeaderName) {
    out.line(name.as_str());
    for (i, value) in headers.get_all(name).iter().enumerate() {
        out.put(if i == 0 { b":" } else { b", " });
        out.put_header_value(name, trim(value.as_bytes()));
    }
}
