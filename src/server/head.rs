//! Checks that need only the head of a request, before its app's keys are looked up.

use http::{Method, Uri, Version, request::Parts};
use http_body::Body;

use crate::{
    protocol::{Claim, Head, HeaderIndex, KnownHeader, Limits, Rejection, RejectionKind, Scheme, UnreadableClaim},
    server::{
        body::check::{Length, too_large},
        caller::Caller,
    },
};

/// Reads the fields and the rest of the head, and the allowed length of the body.
pub(super) fn read<'r>(
    scheme: &'r Scheme,
    limits: &Limits,
    prefix: &'r str,
    uri: &'r Uri,
    parts: &'r Parts,
    body: &impl Body,
) -> Result<(Claim, Head<'r>, Length), UnreadableClaim> {
    refuse_verified(parts)?;
    // Check the query's length first, because the fields may have to be searched in it.
    check_query_length(uri, limits)?;
    let found = scheme.header_table().find_in(&parts.headers);
    let claim = Claim::read(scheme, uri, &found)?;
    let rest = || {
        // Before HTTP/2 every CONNECT is a plain one, whatever its target looks like.
        if parts.method == Method::CONNECT && parts.version < Version::HTTP_2 {
            return Err(Rejection::malformed("path", "CONNECT of HTTP/1.1 has no path to sign"));
        }
        let head = Head::read(scheme, prefix, uri, &parts.method, &found)?;
        let limit = if head.is_form() { limits.form() as u64 } else { limits.body() };
        let declared = content_length(&found)?;
        if declared.unwrap_or(0).max(body.size_hint().lower()) > limit {
            return Err(too_large(limit));
        }
        Ok((head, Length { declared, limit }))
    };
    match rest() {
        Ok((head, length)) => Ok((claim, head, length)),
        Err(rejection) => {
            Err(UnreadableClaim { rejection, app_id: Some(claim.app_id().clone()), timestamp: Some(claim.timestamp()) })
        }
    }
}

/// Rejects a request that another verifying layer has let in.
pub(super) fn refuse_verified(parts: &Parts) -> Result<(), UnreadableClaim> {
    let Some(caller) = parts.extensions.get::<Caller>() else {
        return Ok(());
    };
    let rejection = Rejection::new(
        RejectionKind::Misconfigured,
        "the request was verified before: two verifying layers stand around this route, one is enough",
    );
    let (app_id, timestamp) = (Some(caller.app_id().clone()), Some(caller.timestamp()));
    Err(UnreadableClaim { rejection, app_id, timestamp })
}

pub(super) fn check_query_length(uri: &Uri, limits: &Limits) -> Result<(), Rejection> {
    if uri.query().unwrap_or_default().len() > limits.query() {
        let detail = format!("the query has more than {} bytes: send a body instead", limits.query());
        return Err(Rejection::new(RejectionKind::QueryTooLong, detail));
    }
    Ok(())
}

/// Reads the Content-Length. RFC 9110, section 8.6.
pub(super) fn content_length(headers: &HeaderIndex<'_>) -> Result<Option<u64>, Rejection> {
    let Some(value) = headers.single(KnownHeader::ContentLength)? else {
        return Ok(None);
    };
    let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let length = digits.and_then(|digits| digits.parse().ok());
    length.map(Some).ok_or_else(|| Rejection::malformed("content-length", "expected a number of bytes"))
}
