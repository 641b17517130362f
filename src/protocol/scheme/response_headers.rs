//! The headers of a signed response, and the further headers that its signature covers.

use http::{HeaderName, header};

use crate::protocol::scheme::{error::SchemeError, headers::hop_by_hop_reason};

/// The time at which a response was signed, in Unix seconds.
pub(crate) const RESPONSE_TIMESTAMP: HeaderName = HeaderName::from_static("x-response-timestamp");

/// The SHA-256 of a response's body: 64 lowercase hex digits.
pub(crate) const RESPONSE_DIGEST: HeaderName = HeaderName::from_static("x-response-content-sha256");

/// The signature of a response: 64 lowercase hex digits.
pub(crate) const RESPONSE_SIGN: HeaderName = HeaderName::from_static("x-response-sign");

/// The headers of the signature.
pub(crate) const RESPONSE_SIGNATURE: [HeaderName; 3] = [RESPONSE_TIMESTAMP, RESPONSE_DIGEST, RESPONSE_SIGN];

/// The names of the further signed headers, in ascending order.
#[derive(Clone, Debug, Default)]
pub(crate) struct ResponseHeaders(Vec<HeaderName>);

impl ResponseHeaders {
    pub(crate) fn new(names: impl IntoIterator<Item = HeaderName>) -> Result<Self, SchemeError> {
        let mut names: Vec<HeaderName> = names.into_iter().collect();
        names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        let repeated = names.windows(2).find_map(|pair| match pair {
            [first, second] if first == second => Some((first.clone(), "it is in the list twice")),
            _ => None,
        });
        let unsignable = || names.iter().find_map(|name| unsignable(name).map(|reason| (name.clone(), reason)));
        match repeated.or_else(unsignable) {
            Some((name, reason)) => Err(SchemeError::SignedResponseHeader { name, reason }),
            None => Ok(Self(names)),
        }
    }

    pub(crate) fn names(&self) -> &[HeaderName] {
        &self.0
    }
}

/// Returns the reason why this header of a response cannot be configured, or `None` if it can.
fn unsignable(name: &HeaderName) -> Option<&'static str> {
    const OWN_LINE: &str = "it has a line of its own in the string to sign";
    match name {
        name if RESPONSE_SIGNATURE.contains(name) => Some("it is part of the signature"),
        &header::CONTENT_TYPE | &header::CONTENT_ENCODING | &header::CONTENT_RANGE => Some(OWN_LINE),
        &header::CONTENT_LENGTH => Some("servers and proxies change it; the body's digest is signed"),
        &header::DATE => Some("servers write it after all layers"),
        &header::SET_COOKIE => Some("browsers do not show it to a page, and proxies change it"),
        name => hop_by_hop_reason(name),
    }
}
