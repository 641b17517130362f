//! What is checked by the head of a request alone, before its app's keys are looked up.

use http::{Method, Uri, Version, request::Parts};
use http_body::Body;

use crate::{
    protocol::{Claim, Head, HeaderIndex, KnownHeader, Limits, Rejection, RejectionKind, Scheme},
    server::{
        body::check::{Length, too_large},
        caller::Caller,
    },
};

/// Reads the fields and all else that the head tells, and how long the body may be.
pub(super) fn read<'r>(
    scheme: &'r Scheme,
    limits: &Limits,
    prefix: &'r str,
    uri: &'r Uri,
    parts: &'r Parts,
    body: &impl Body,
) -> Result<(Claim, Head<'r>, Length), Rejection> {
    if parts.extensions.get::<Caller>().is_some() {
        return Err(Rejection::new(
            RejectionKind::Misconfigured,
            "the request was verified before: two verifying layers stand around this route, one is enough",
        ));
    }
    // First, for fields may have to be looked for in it.
    if uri.query().unwrap_or_default().len() > limits.query() {
        let detail = format!("the query has more than {} bytes: send a body instead", limits.query());
        return Err(Rejection::new(RejectionKind::QueryTooLong, detail));
    }
    let found = scheme.header_table().find_in(&parts.headers);
    let claim = Claim::read(scheme, uri, &found)?;
    // Before HTTP/2 there is no other than the plain one, whatever its target looks like.
    if parts.method == Method::CONNECT && parts.version < Version::HTTP_2 {
        return Err(Rejection::malformed("path", "CONNECT of HTTP/1.1 has no path to sign"));
    }
    let head = Head::read(scheme, prefix, uri, &parts.method, &found)?;
    let limit = if head.is_form() { limits.form() as u64 } else { limits.body() };
    let declared = content_length(&found)?;
    if declared.unwrap_or(0).max(body.size_hint().lower()) > limit {
        return Err(too_large(limit));
    }
    Ok((claim, head, Length { declared, limit }))
}

/// RFC 9110, section 8.6.
fn content_length(headers: &HeaderIndex<'_>) -> Result<Option<u64>, Rejection> {
    let Some(value) = headers.single(KnownHeader::ContentLength)? else {
        return Ok(None);
    };
    let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let length = digits.and_then(|digits| digits.parse().ok());
    length.map(Some).ok_or_else(|| Rejection::malformed("content-length", "expected a number of bytes"))
}
