//! What the service is given: nothing that was not signed, and who signed.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header, request::Parts};

use super::{
    arriving::Binding,
    body::{RequestBody, VerifiedBody},
    caller::Caller,
};
use crate::protocol::{
    CanonicalRequest, Field, ParameterList, Parameters, Rejection, Scheme, Unrepeated, strip, with_query,
};

/// The target that was signed: what the client put on the request line, not what routers made of it.
pub(super) fn signed_uri(parts: &Parts) -> &Uri {
    #[cfg(feature = "axum")]
    if let Some(axum::extract::OriginalUri(uri)) = parts.extensions.get() {
        return uri;
    }
    &parts.uri
}

/// The request as the service gets it: of every text the one that was signed.
pub(super) struct Delivery {
    /// Where it differs from the one that came.
    query: Option<Vec<u8>>,
}

impl Delivery {
    /// Decides what the service gets of the parameters, and by what the body is bound.
    pub(super) fn new(
        request: &CanonicalRequest<'_>,
        form: &ParameterList<'_>,
        form_body: Option<&Bytes>,
        parts: &Parts,
        policy: Parameters,
        scheme: &Scheme,
    ) -> (Self, Binding) {
        let signed = signed_uri(parts).query();
        let query = match policy {
            Parameters::Signed => Some(request.query.to_text()),
            _ if request.query.left_something_out() || signed == Some("") || parts.uri.query() != signed => {
                Some(strip(signed.unwrap_or_default().as_bytes(), scheme.query_fields()))
            }
            _ => None,
        };
        let binding = match (request.digest(), form_body) {
            (Some(digest), _) => Binding::Digest(digest),
            (None, Some(body)) => Binding::Parameters(match policy {
                Parameters::Signed => form.to_text().into(),
                _ if form.left_something_out() => strip(body, None).into(),
                _ => body.clone(),
            }),
            (None, None) => Binding::Nothing,
        };
        (Self { query }, binding)
    }

    pub(super) fn request<B: RequestBody>(
        self,
        mut parts: Parts,
        body: Bytes,
        verified: Unrepeated,
        scheme: &Scheme,
    ) -> Result<Request<B::Verified>, Rejection> {
        if let Some(query) = &self.query {
            replace_query(&mut parts, query)
                .map_err(|error| Rejection::malformed_parameters("the query cannot be read").because(error))?;
        }
        if parts.headers.contains_key(header::CONTENT_LENGTH) {
            parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        remove_overrides(scheme, &mut parts.headers);
        hide_secrets(scheme, &mut parts.headers);
        parts.extensions.insert(Caller::new(verified));
        Ok(Request::from_parts(parts, B::verified(VerifiedBody::new(body))))
    }
}

fn replace_query(parts: &mut Parts, query: &[u8]) -> Result<(), http::Error> {
    parts.uri = with_query(&parts.uri, query.to_vec())?;
    #[cfg(feature = "axum")]
    if let Some(axum::extract::OriginalUri(uri)) = parts.extensions.get_mut() {
        *uri = with_query(uri, query.to_vec())?;
    }
    Ok(())
}

/// Removes the headers by which an unsigned byte could make the request another one.
fn remove_overrides(scheme: &Scheme, headers: &mut HeaderMap) {
    const OVERRIDES: [HeaderName; 5] = [
        HeaderName::from_static("x-http-method-override"),
        HeaderName::from_static("x-http-method"),
        HeaderName::from_static("x-method-override"),
        HeaderName::from_static("x-original-url"),
        HeaderName::from_static("x-rewrite-url"),
    ];
    for name in OVERRIDES {
        if !scheme.signed_headers().contains(&name) {
            headers.remove(name);
        }
    }
}

/// Keeps sign and token out of what the service logs.
fn hide_secrets(scheme: &Scheme, headers: &mut HeaderMap) {
    for name in [scheme.header_name(Field::Sign), scheme.header_name(Field::Token)] {
        if let Some(value) = headers.get_mut(name) {
            value.set_sensitive(true);
        }
    }
}
