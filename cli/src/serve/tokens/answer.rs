//! The answers of the paths for tokens.

use axum::{
    Json,
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, SET_COOKIE},
    },
    response::{IntoResponse, Response},
};
use countersign::{
    Caller, Rejection, TokenLocation,
    store::StoreError,
    token::{IssueError, Issued},
};
use serde_json::{Value, json};

use super::TokenService;

/// An error of these paths.
pub(super) enum Problem {
    /// An error that the protocol has a code for.
    Refused(Rejection),
    /// Another one. It has no code, because the verifier does not send it.
    Other(StatusCode, String),
}

impl Problem {
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::Other(StatusCode::BAD_REQUEST, detail.into())
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        Self::Refused(rejection)
    }
}

impl From<IssueError> for Problem {
    fn from(error: IssueError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::Refused(Rejection::unavailable(error))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, detail) = match self {
            Self::Refused(rejection) => return rejection.into_response(),
            Self::Other(status, detail) => (status, detail),
        };
        let title = status.canonical_reason();
        let body = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
        let content_type = HeaderValue::from_static("application/problem+json");
        (status, [(CONTENT_TYPE, content_type)], body.to_string()).into_response()
    }
}

impl TokenService {
    /// The name of the cookie that can have the token.
    pub(super) fn cookie_name(&self) -> Option<&str> {
        match self.scheme.token_location() {
            TokenLocation::Cookie(name) | TokenLocation::FieldOrCookie(name) => Some(name),
            _ => None,
        }
    }

    /// The body of an answer with a token. `is_for_page` says that the token is in a cookie, which the page cannot read.
    pub(super) async fn body(&self, caller: &Caller, issued: &Issued, is_for_page: bool) -> Result<Value, Problem> {
        let session = issued.session();
        let left = session.session_expires_at().saturating_sub(session.expires_at());
        let mut body = json!({
            "expires_in": issued.expires_in(),
            "session_expires_in": left.saturating_add(issued.expires_in()),
            "session_id": session.id().to_string(),
        });
        match is_for_page {
            true => body["cookie_digest"] = issued.cookie_digest().into(),
            false => body["token"] = issued.token().expose().into(),
        }
        if self.has_session_keys && session.user().is_some() && session.kind() != countersign::token::TokenKind::Bearer
        {
            let app = self.keys.keys_boxed(caller.app_id()).await?;
            let key = app.and_then(|app| issued.session_key(app.keys(), self.scheme.audience()));
            let key = key.ok_or_else(|| Rejection::unavailable("no key of the app is active"))?;
            body["session_key"] = key.expose().into();
        }
        Ok(body)
    }
}

/// Answers with a body and a cookie.
pub(super) fn with_cookie(status: StatusCode, cookie: Option<HeaderValue>, body: Value) -> Response {
    let mut response = (status, Json(body)).into_response();
    if let Some(cookie) = cookie {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

/// The `Set-Cookie` header for a token that was not just issued. An empty token removes the cookie.
pub(super) fn set_cookie(name: &str, token: &str, max_age: u64) -> Option<HeaderValue> {
    let cookie = format!("{name}={token}; Path=/; Max-Age={max_age}; Secure; HttpOnly; SameSite=Strict");
    let mut value = HeaderValue::try_from(cookie).ok()?;
    value.set_sensitive(true);
    Some(value)
}
