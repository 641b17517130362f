//! The error for an invalid scheme.

use http::HeaderName;

/// The error for an invalid [`Scheme`](crate::Scheme) or [`LinkScheme`](crate::LinkScheme).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemeError {
    /// The audience is too long or not visible ASCII.
    #[error("the audience: expected at most 255 visible ASCII characters")]
    Audience,
    /// A field cannot be sent in this header.
    #[error("header {name:?} cannot carry a field: {reason}")]
    HeaderName {
        /// The header.
        name: HeaderName,
        /// The reason, for people.
        reason: &'static str,
    },
    /// This header cannot be signed.
    #[error("header {name:?} cannot be a signed header: {reason}")]
    SignedHeader {
        /// The header.
        name: HeaderName,
        /// The reason, for people.
        reason: &'static str,
    },
    /// This header cannot be a signed header of responses.
    #[error("header {name:?} cannot be a signed header of responses: {reason}")]
    SignedResponseHeader {
        /// The header.
        name: HeaderName,
        /// The reason, for people.
        reason: &'static str,
    },
    /// A field cannot be sent in this parameter.
    #[error(
        "query parameter {0:?}: the name is empty, is another field already, or is for the digest, which is a header"
    )]
    ParameterName(String),
    /// A parameter of links cannot have this name.
    #[error(
        "parameter {0:?} of links: the name is empty, is in use already, or belongs to a field or a parameter of links, which \
         is always signed"
    )]
    LinkParameter(String),
    /// A cookie cannot have this name.
    #[error("cookie {0:?}: expected a cookie's name, letters, digits and a few signs")]
    CookieName(String),
    /// An unsigned token cannot be in a cookie.
    #[error("cookie {0:?}: a token without a signature cannot be in a cookie: use its field or Authorization: Bearer")]
    UnsignedCookie(String),
}
