//! The request that the service gets for a share link.

use http::{HeaderMap, HeaderName, header, request::Parts};

use crate::{
    protocol::{Authentic, ParameterPolicy, Rejection, Scheme, Text, remove_token, strip},
    server::forward::{RewrittenUris, remove_overrides, signed_uri},
};

/// Signed headers of requests that stay in the request for a link, without a signature: they only choose among
/// what the link gives.
const CHOICES: [HeaderName; 9] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::ACCEPT_LANGUAGE,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    header::RANGE,
];

/// The changes that turn the request for a link into the one that the service gets.
pub(super) struct ForwardedLink {
    targets: RewrittenUris,
}

impl ForwardedLink {
    /// Leaves only signed parameters, without those of the protocol.
    pub(super) fn new(
        authentic: &Authentic<'_>,
        parts: &Parts,
        policy: ParameterPolicy,
        scheme: &Scheme,
    ) -> Result<Self, Rejection> {
        let is_removed = |name: Text<'_>| scheme.is_removed_from_link(name);
        let query = match policy {
            ParameterPolicy::Canonicalize => authentic.request().query().to_text_without(is_removed),
            _ => strip(signed_uri(parts).query().unwrap_or_default().as_bytes(), is_removed),
        };
        let targets = RewrittenUris::new(parts, &query).map_err(|error| {
            Rejection::malformed_parameters("the query cannot be written as it was signed").with_source(error)
        })?;
        Ok(Self { targets })
    }

    pub(super) fn apply(self, parts: &mut Parts, scheme: &Scheme) {
        self.targets.replace(parts);
        remove_unsigned(&mut parts.headers, scheme);
    }
}

/// Removes the headers that a service trusts because requests sign them. A link signs none. The host stays, so only the
/// audience binds a link to a service.
fn remove_unsigned(headers: &mut HeaderMap, scheme: &Scheme) {
    remove_overrides(headers, &[]);
    remove_token(scheme, headers);
    headers.remove(header::CONTENT_TYPE);
    let signed = scheme.signed_headers().iter().filter(|name| **name != header::HOST && !CHOICES.contains(name));
    for name in scheme.header_table().fields().chain(signed) {
        headers.remove(name);
    }
}
