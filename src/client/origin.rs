//! The origins that a client signs for.

use std::sync::Arc;

use http::Uri;

use crate::protocol::{SignError, SignErrorKind};

/// The origins that requests are signed for. Default: all.
#[derive(Clone, Debug, Default)]
pub(super) enum Origins {
    #[default]
    All,
    Only(Arc<[Origin]>),
}

impl Origins {
    pub(super) fn only(origins: impl IntoIterator<Item: AsRef<str>>) -> Result<Self, OriginError> {
        let origins: Vec<_> = origins.into_iter().map(|text| Origin::parse(text.as_ref())).collect::<Result<_, _>>()?;
        if origins.is_empty() {
            return Err(OriginError::Empty);
        }
        Ok(Self::Only(origins.into()))
    }

    /// Returns whether to sign a request to this URL.
    pub(super) fn include(&self, uri: &Uri) -> Result<bool, SignError> {
        let Self::Only(origins) = self else {
            return Ok(true);
        };
        if uri.scheme().is_none() || uri.host().is_none() {
            let reason = "signing is restricted to some origins, and this URL has none: write scheme and host into it, \
                          or use a SignLayer without origins";
            return Err(SignError::new(SignErrorKind::Url, reason));
        }
        Ok(origins.iter().any(|origin| origin.is_of(uri)))
    }
}

/// An origin: scheme, host and port.
#[derive(Debug)]
pub(super) struct Origin(Uri);

impl Origin {
    fn parse(text: &str) -> Result<Self, OriginError> {
        if text.contains('@') {
            return Err(OriginError::UserInfo);
        }
        let malformed = || OriginError::Malformed(text.to_owned());
        // Check the text too: `Uri` drops the fragment, and treats an invalid port as absent.
        let uri: Uri =
            Some(text).filter(|text| !text.contains('#')).and_then(|text| text.parse().ok()).ok_or_else(malformed)?;
        let has_port = |authority: &http::uri::Authority| authority.as_str().len() > authority.host().len();
        let bad_port = uri.port_u16().is_none() && uri.authority().is_some_and(has_port);
        let is_origin = uri.scheme().is_some() && uri.host().is_some_and(|host| !host.is_empty());
        if !is_origin || bad_port || uri.path_and_query().is_some_and(|rest| rest != "/") {
            return Err(malformed());
        }
        Ok(Self(uri))
    }

    /// Compares the parts of the URL that a connector uses.
    fn is_of(&self, uri: &Uri) -> bool {
        let same = |a: Option<&str>, b: Option<&str>| matches!((a, b), (Some(a), Some(b)) if a.eq_ignore_ascii_case(b));
        same(self.0.scheme_str(), uri.scheme_str()) && same(self.0.host(), uri.host()) && port(&self.0) == port(uri)
    }
}

fn port(uri: &Uri) -> Option<u16> {
    uri.port_u16().or(match uri.scheme_str() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    })
}

/// The error for an invalid origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OriginError {
    /// The text has more or fewer parts than an origin.
    #[error(
        "origin {0:?}: expected a scheme, a host and perhaps a port, as in https://api.example.com:8443, with no path"
    )]
    Malformed(String),
    /// The text has user info. The message does not repeat it, because it may contain a password.
    #[error("an origin has no user info: leave out what stands before the @")]
    UserInfo,
    /// The list of origins is empty.
    #[error("no origins: nothing would be signed")]
    Empty,
}
