//! Listing and ending sessions.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use countersign::{
    Caller,
    token::{Owner, Session, SessionId, Subject, UserSession},
};
use serde_json::{Value, json};

use super::{
    TokenService,
    answer::{Problem, set_cookie},
};

/// `DELETE /_tokens`: ends the session of the token, and removes its cookie.
pub(super) async fn log_out(
    State(service): State<Arc<TokenService>>,
    caller: Caller,
    session: Session,
) -> Result<Response, Problem> {
    service.tokens.end(&session).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    let name = service.cookie_name().filter(|_| caller.is_token_in_cookie());
    if let Some(cookie) = name.and_then(|name| set_cookie(name, "", 0)) {
        response.headers_mut().insert(axum::http::header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// `GET /_sessions`: the sessions of the user in this app.
pub(super) async fn list(
    State(service): State<Arc<TokenService>>,
    current: UserSession,
) -> Result<Json<Value>, Problem> {
    let sessions = service.tokens.siblings(current.session()).await?;
    let row = |session: &Session| {
        json!({
            "id": session.id().to_string(),
            "device": session.device().map(|device| device.as_str()),
            "issued_at": session.issued_at(),
            "seen_at": session.seen_at(),
            "expires_at": session.expires_at(),
            "current": session.id() == current.session().id(),
        })
    };
    Ok(Json(json!({ "sessions": sessions.iter().map(row).collect::<Vec<_>>() })))
}

/// `DELETE /_sessions`: ends all sessions of the user in this app but this one.
pub(super) async fn end_others(
    State(service): State<Arc<TokenService>>,
    current: UserSession,
) -> Result<StatusCode, Problem> {
    service.tokens.end_others(current.session()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /_sessions/{id}`: ends a session of the user in this app.
pub(super) async fn end(
    State(service): State<Arc<TokenService>>,
    current: UserSession,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let id: SessionId = id.parse().map_err(|error| Problem::bad_request(format!("{error}")))?;
    match service.tokens.end_sibling(current.session(), id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::Other(
            StatusCode::NOT_FOUND,
            "the user has no such session in this app: GET /_sessions lists them".to_owned(),
        )),
    }
}

/// `DELETE /_users/{user}/sessions`: ends all sessions of a user, in all apps.
pub(super) async fn end_all(
    State(service): State<Arc<TokenService>>,
    Path(user): Path<String>,
) -> Result<Json<Value>, Problem> {
    let user: Subject = user.parse().map_err(|error| Problem::bad_request(format!("user: {error}")))?;
    let ended = service.tokens.end_all(&Owner::User(user)).await?;
    Ok(Json(json!({ "ended": ended })))
}
