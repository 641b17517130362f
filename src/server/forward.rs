//! The request that the service gets: only signed parts, and the caller.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Uri, request::Parts};
use http_body::Body;

#[cfg(feature = "submissions")]
use crate::server::signed_submission::SignedSubmission;
use crate::{
    protocol::{Authentic, Head, OVERRIDES, ParameterPolicy, Rejection, Scheme, remove_cookie, strip, with_query},
    server::{
        body::{
            admitted::{Admitted, AdmittedBody},
            check::{BodyExpectation, Length},
        },
        caller::Caller,
    },
};

/// Returns the signed target: the request line as the client sent it, before routers changed it.
pub(super) fn signed_uri(parts: &Parts) -> &Uri {
    #[cfg(feature = "axum")]
    if let Some(axum::extract::OriginalUri(uri)) = parts.extensions.get() {
        return uri;
    }
    &parts.uri
}

/// The changes that turn an incoming request into the one that the service gets. They leave only signed text in it.
pub(super) struct ForwardedRequest {
    /// `None` for most requests.
    additions: Option<Box<Additions>>,
    has_overrides: bool,
    expectation: BodyExpectation,
}

/// What few requests need. It is boxed, because a verifier keeps it while it waits.
#[cfg_attr(feature = "submissions", derive(Default))]
struct Additions {
    /// `None` if the URIs do not change.
    uris: Option<RewrittenUris>,
    #[cfg(feature = "submissions")]
    submission: Option<SignedSubmission>,
}

/// The URIs of a request, with another query.
pub(super) struct RewrittenUris {
    uri: Uri,
    #[cfg(feature = "axum")]
    original: Option<Uri>,
}

impl ForwardedRequest {
    pub(super) fn new(
        authentic: &Authentic<'_>,
        head: &Head<'_>,
        length: Length,
        form: Option<&Bytes>,
        parts: &Parts,
        policy: ParameterPolicy,
        scheme: &Scheme,
    ) -> Result<Self, Rejection> {
        let request = authentic.request();
        let query = signed_uri(parts).query();
        let delivered_query = match policy {
            ParameterPolicy::Canonicalize => Some(request.query().to_text()),
            _ if request.query().has_unsigned() || query == Some("") || parts.uri.query() != query => {
                Some(strip(query.unwrap_or_default().as_bytes(), |name| scheme.is_query_field(name)))
            }
            _ => None,
        };
        let uris = delivered_query.map(|query| RewrittenUris::new(parts, &query)).transpose().map_err(|error| {
            Rejection::malformed_parameters("the query cannot be written as it was signed").with_source(error)
        })?;
        let bound_form = match (form, policy) {
            (Some(_), ParameterPolicy::Canonicalize) => request.form().to_text().into(),
            (Some(form), _) if request.form().has_unsigned() => strip(form, |_| false).into(),
            (form, _) => form.cloned().unwrap_or_default(),
        };
        let expectation = BodyExpectation { length, digest: request.digest(), form: bound_form };
        let additions = uris.map(|uris| Box::new(Additions::of(uris)));
        Ok(Self { additions, has_overrides: head.has_overrides(), expectation })
    }

    pub(super) fn expectation(&self) -> BodyExpectation {
        self.expectation.clone()
    }

    /// Turns the head into the one that may reach the service, and inserts the caller.
    pub(super) fn apply(self, parts: &mut Parts, body: &AdmittedBody, caller: Caller, scheme: &Scheme) {
        if let Some(additions) = self.additions {
            additions.apply(parts, body);
        }
        match body.get() {
            Admitted::Whole(bytes) => self.expectation.correct_length(&mut parts.headers, bytes.len() as u64),
            Admitted::Streamed(body) => {
                if let Some(length) = body.size_hint().exact() {
                    self.expectation.correct_length(&mut parts.headers, length);
                }
            }
            Admitted::Unchecked(_) => {}
        }
        if self.has_overrides {
            remove_overrides(&mut parts.headers, scheme.signed_headers());
        }
        if let Some(cookie) = caller.unsigned_token_cookie(scheme) {
            remove_cookie(&mut parts.headers, cookie);
        }
        parts.extensions.insert(caller);
    }
}

#[cfg(feature = "submissions")]
impl ForwardedRequest {
    pub(super) fn with_submission(mut self, submission: SignedSubmission) -> Self {
        self.additions.get_or_insert_default().submission = Some(submission);
        self
    }
}

impl Additions {
    fn of(uris: RewrittenUris) -> Self {
        Self {
            uris: Some(uris),
            #[cfg(feature = "submissions")]
            submission: None,
        }
    }

    #[cfg_attr(not(feature = "submissions"), allow(unused_variables, reason = "only submissions need the body"))]
    fn apply(self, parts: &mut Parts, body: &AdmittedBody) {
        if let Some(uris) = self.uris {
            uris.replace(parts);
        }
        #[cfg(feature = "submissions")]
        if let Some(mut submission) = self.submission {
            submission.is_body_checked = matches!(body.get(), Admitted::Whole(_));
            parts.extensions.insert(std::sync::Arc::new(submission));
        }
    }
}

impl RewrittenUris {
    pub(super) fn new(parts: &Parts, query: &[u8]) -> Result<Self, http::Error> {
        Ok(Self {
            uri: with_query(&parts.uri, query)?,
            #[cfg(feature = "axum")]
            original: match parts.extensions.get() {
                Some(axum::extract::OriginalUri(uri)) => Some(with_query(uri, query)?),
                None => None,
            },
        })
    }

    pub(super) fn replace(self, parts: &mut Parts) {
        parts.uri = self.uri;
        #[cfg(feature = "axum")]
        if let Some(original) = self.original {
            parts.extensions.insert(axum::extract::OriginalUri(original));
        }
    }
}

/// Removes unsigned headers that override the method or the URL.
pub(super) fn remove_overrides(headers: &mut HeaderMap, signed: &[HeaderName]) {
    for name in OVERRIDES.iter().filter(|name| !signed.contains(name)) {
        headers.remove(name);
    }
}

/// Marks the signature and the token as sensitive, so that the service does not log them.
pub(super) fn hide_secrets(scheme: &Scheme, headers: &mut HeaderMap) {
    for (name, value) in headers.iter_mut() {
        if scheme.secret_headers().contains(name) {
            value.set_sensitive(true);
        }
    }
}
