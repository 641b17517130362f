//! The tokens of the echo server: its options, and the paths that issue, renew and end tokens.

mod answer;
mod body;
mod grants;
mod issue;
mod options;
mod sessions;

use std::sync::Arc;

use axum::{
    Json, Router,
    http::{HeaderValue, header::CACHE_CONTROL},
    middleware,
    response::Response,
    routing::{any, delete, get, post},
};
use countersign::{
    Scheme,
    server::{RequireLayer, TokenLayer},
    store::DynKeyStore,
    token::{Session, Tokens},
};
use serde_json::{Value, json};

pub(super) use self::{grants::grant_json, options::ServeTokenOptions};

/// What the handlers need.
pub(super) struct TokenService {
    pub(super) tokens: Tokens,
    /// Session keys are derived from the keys of the app.
    pub(super) keys: Arc<dyn DynKeyStore>,
    pub(super) scheme: Scheme,
    pub(super) has_session_keys: bool,
}

/// The paths that belong behind the verifier.
pub(super) fn signed_routes(service: Arc<TokenService>) -> Router {
    Router::new()
        .route("/_tokens", post(issue::issue).layer(RequireLayer::app_key()).delete(sessions::log_out))
        .route("/_tokens/renew", post(issue::renew))
        .route("/_tokens/renew/cookie", post(issue::renew_cookie))
        .route("/_sessions", get(sessions::list).delete(sessions::end_others))
        .route("/_sessions/{id}", delete(sessions::end))
        .route("/_users/{user}/sessions", delete(sessions::end_all).layer(RequireLayer::app_key()))
        .route("/_grants", post(grants::issue).get(grants::list))
        .route("/_grants/{id}", delete(grants::end))
        .layer(middleware::map_response(no_store))
        .with_state(service)
}

/// The path for bearer tokens, which need no signature.
pub(super) fn bearer_routes(tokens: Tokens) -> Router {
    let route = any(async |session: Session| Json(json!({ "session": session_json(&session) })));
    Router::new().route("/_bearer", route.layer(TokenLayer::new(tokens)))
}

/// A session as the echo shows it.
pub(super) fn session_json(session: &Session) -> Value {
    json!({
        "id": session.id().to_string(),
        "user": session.user().map(|user| user.as_str()),
        "device": session.device().map(|device| device.as_str()),
    })
}

async fn no_store(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
