//! Responses to rejected requests, and their body type.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS},
};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use serde::Serialize;

use crate::{
    event::call_closure,
    protocol::{Challenge, Rejection, RejectionKind},
    server::link::answer::hide_link,
};

/// Makes the response to a rejected request. Closures from `&Rejection` to `Response<Bytes>` implement this trait.
///
/// After that, the layer sets `x-error-code` to the rejection's [code](crate::RejectionKind::code) and `Cache-Control`
/// to `no-store`. It adds a `WWW-Authenticate` header to a 401 that has none (RFC 9110, section 15.5.2).
#[diagnostic::on_unimplemented(
    message = "`{Self}` makes no answer to a rejection",
    note = "a closure does if its argument has a type and it returns `Response<Bytes>`: \
            `|rejection: &Rejection| rejection.to_response()`"
)]
pub trait RenderRejection: Send + Sync + 'static {
    /// Makes the response. If it panics, the layer sends the response of [`ProblemJson`].
    fn render(&self, rejection: &Rejection) -> Response<Bytes>;
}

impl<F: Fn(&Rejection) -> Response<Bytes> + Send + Sync + 'static> RenderRejection for F {
    fn render(&self, rejection: &Rejection) -> Response<Bytes> {
        self(rejection)
    }
}

/// Responds with `application/problem+json` (RFC 9457), as PROTOCOL.md describes it.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ProblemJson {}

impl ProblemJson {
    /// Makes the protocol's default renderer.
    #[must_use]
    pub fn new() -> Self {
        Self {}
    }
}

impl RenderRejection for ProblemJson {
    fn render(&self, rejection: &Rejection) -> Response<Bytes> {
        let mut response = Response::new(Problem::new(rejection).to_json());
        *response.status_mut() = rejection.kind().status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(after) = rejection.retry_after() {
            headers.insert(RETRY_AFTER, after.as_secs().into());
        }
        if let Some(time) = rejection.server_time() {
            headers.insert(HeaderName::from_static("x-server-time"), time.into());
        }
        mark_refused(&mut response, rejection);
        response
    }
}

/// Sets the headers of a rejection's response that caches, retry policies and clients of HEAD need.
pub(in crate::server) fn mark_refused<B>(response: &mut Response<B>, rejection: &Rejection) {
    let kind = rejection.kind();
    let is_unauthorized = response.status() == StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("x-error-code"), HeaderValue::from_static(kind.code()));
    if rejection.string_to_sign().is_some() {
        // The text has parameters that the caller chose. A browser must not take it for a page.
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    if let Some(methods) = rejection.allowed_methods() {
        headers.insert(ALLOW, HeaderValue::from_static(methods));
    }
    if rejection.link().is_some() {
        hide_link(headers);
    }
    if is_unauthorized && !headers.contains_key(WWW_AUTHENTICATE) {
        // RFC 9110, section 11.6.1: a scheme and its parameters. A code consists of letters and `_`.
        if rejection.challenge() != Challenge::Bearer
            && let Ok(challenge) = HeaderValue::try_from(format!("CS1-HMAC-SHA256 error=\"{kind}\""))
        {
            headers.append(WWW_AUTHENTICATE, challenge);
        }
        if rejection.challenge() != Challenge::Signature {
            // RFC 6750, section 3.1: without a token, the challenge has no error.
            let is_invalid = kind == RejectionKind::InvalidToken;
            let challenge = if is_invalid { "Bearer error=\"invalid_token\"" } else { "Bearer" };
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
    }
}

/// Renders a rejection. If the renderer panics, the response is that of [`ProblemJson`].
pub(crate) fn refuse<B>(renderer: &impl RenderRejection, rejection: &Rejection) -> Response<ResponseBody<B>> {
    let rendered = call_closure("renderer", || renderer.render(rejection));
    let mut response = rendered.unwrap_or_else(|| rejection.to_response()).map(ResponseBody::of_bytes);
    mark_refused(&mut response, rejection);
    response.extensions_mut().insert(rejection.clone());
    response
}

impl Rejection {
    /// Makes the response that [`ProblemJson`] sends for this rejection.
    #[must_use]
    pub fn to_response(&self) -> Response<Bytes> {
        ProblemJson::new().render(self)
    }
}

/// A problem of RFC 9457, section 3.1, with some extension members.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    string_to_sign: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<&'a str>,
}

impl<'a> Problem<'a> {
    fn new(rejection: &'a Rejection) -> Self {
        let kind = rejection.kind();
        Self {
            r#type: format!("urn:cs1:{}", kind.code()),
            title: kind.title(),
            status: kind.status().as_u16(),
            detail: rejection.detail(),
            code: kind.code(),
            field: rejection.field(),
            reason: rejection.reason(),
            string_to_sign: rejection.string_to_sign(),
            expires_in: rejection.expires_in(),
            first_status: rejection.first_status(),
            location: rejection.first_location(),
        }
    }

    fn to_json(&self) -> Bytes {
        // Serializing text and a number never fails. If that changed, the status would still signal the error.
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

pin_project! {
    /// The body of a response: the body of the service's response, or the bytes of a rejection, of a stored answer or of a signed
    /// response.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    #[derive(Debug)]
    enum Kind<B> {
        Service { #[pin] body: B },
        Whole { bytes: Bytes },
    }
}

impl<B> ResponseBody<B> {
    pub(crate) fn of_service(body: B) -> Self {
        Self { kind: Kind::Service { body } }
    }

    pub(crate) fn of_bytes(bytes: Bytes) -> Self {
        Self { kind: Kind::Whole { bytes } }
    }
}

impl<B: Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::of_service(B::default())
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().kind.project() {
            KindProjection::Service { body } => body.poll_frame(context),
            KindProjection::Whole { bytes } if bytes.is_empty() => Poll::Ready(None),
            KindProjection::Whole { bytes } => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Service { body } => body.is_end_stream(),
            Kind::Whole { bytes } => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Service { body } => body.size_hint(),
            Kind::Whole { bytes } => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}
