//! Grants of share links.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
};
use bytes::Bytes;
use countersign::token::{Grant, GrantId, Session};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    TokenService,
    answer::Problem,
    body::{lifetime, parse},
};

/// The lifetime of a grant without `ttl`, in seconds.
const DAY: u64 = 24 * 3600;

/// The body of `POST /_grants`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wanted {
    ttl: Option<u64>,
}

/// `POST /_grants`.
pub(super) async fn issue(
    State(service): State<Arc<TokenService>>,
    session: Session,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let wanted: Wanted = parse(&headers, &body, "ttl")?;
    let issued = service.tokens.grant(&session, lifetime(wanted.ttl.unwrap_or(DAY))?).await?;
    let mut body = grant_json(issued.grant());
    body["grant"] = issued.token().expose().into();
    body["expires_in"] = issued.expires_in().into();
    Ok((StatusCode::CREATED, Json(body)))
}

/// `GET /_grants`: the grants of the owner in this app.
pub(super) async fn list(State(service): State<Arc<TokenService>>, session: Session) -> Result<Json<Value>, Problem> {
    let grants = grants(&service, &session).await?;
    Ok(Json(json!({ "grants": grants.iter().map(grant_json).collect::<Vec<_>>() })))
}

/// `DELETE /_grants/{id}`: ends a grant of the owner in this app.
pub(super) async fn end(
    State(service): State<Arc<TokenService>>,
    session: Session,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let id: GrantId = id.parse().map_err(|error| Problem::bad_request(format!("{error}")))?;
    // An app ends no grants that the user has through another one.
    let is_of_app = grants(&service, &session).await?.iter().any(|grant| grant.id() == id);
    if is_of_app && service.tokens.end_grant(session.owner(), id).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    let detail = "the owner has no such grant in this app: GET /_grants lists them";
    Err(Problem::Other(StatusCode::NOT_FOUND, detail.to_owned()))
}

/// A grant without its text.
pub(in crate::serve) fn grant_json(grant: &Grant) -> Value {
    json!({
        "id": grant.id().to_string(),
        "user": grant.user().map(|user| user.as_str()),
        "issued_at": grant.issued_at(),
        "expires_at": grant.expires_at(),
    })
}

async fn grants(service: &TokenService, session: &Session) -> Result<Vec<Grant>, Problem> {
    let mut all = service.tokens.grants(session.owner()).await?;
    all.retain(|grant| grant.app_id() == session.app_id());
    Ok(all)
}
