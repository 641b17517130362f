//! What the server answers to requests that the verifier accepts.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::{
    Json,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use countersign::{BodyDigest, Caller, Nonce, SignedBy};
use http::{Method, header::CONTENT_TYPE, request::Parts};
use serde_json::{Value, json};

use super::{
    submissions,
    tokens::{grant_json, session_json},
};

/// Stands outside the verifier.
pub(super) async fn health(State(handled): State<Arc<AtomicU64>>, request: Request, next: Next) -> Response {
    if request.method() == Method::GET && request.uri().path() == "/health" {
        return Json(json!({ "handled": handled.load(Ordering::SeqCst) })).into_response();
    }
    next.run(request).await
}

/// Counts the requests that the verifier accepts.
pub(super) async fn count(State(handled): State<Arc<AtomicU64>>, request: Request, next: Next) -> Response {
    handled.fetch_add(1, Ordering::SeqCst);
    next.run(request).await
}

/// The parts of a request, with the unchecked token.
pub(super) async fn echo(caller: Caller, head: Parts, body: Bytes) -> Json<Value> {
    let mut parts = parts(&caller, &head, &body);
    parts["token"] = caller.token().map(|token| token.expose()).into();
    Json(parts)
}

/// The parts of a request, with the session of its token.
pub(super) async fn echo_session(caller: Caller, head: Parts, body: Bytes) -> Json<Value> {
    let mut parts = parts(&caller, &head, &body);
    parts["session"] = caller.session().map(session_json).into();
    parts["signed_by"] = match caller.signed_by() {
        SignedBy::SessionKey => "session_key",
        _ => "app_key",
    }
    .into();
    Json(parts)
}

fn parts(caller: &Caller, head: &Parts, body: &Bytes) -> Value {
    let Parts { method, uri, headers, extensions, .. } = head;
    let content_type = headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let mut parts = json!({
        "app_id": caller.app_id().as_str(),
        "method": method.as_str(),
        "path": uri.path(),
        "query": uri.query().unwrap_or_default(),
        "body_sha256": BodyDigest::of(body).to_string(),
        "body_len": body.len(),
        "content_type": content_type,
        "nonce": caller.nonce().map(Nonce::as_str),
        "timestamp": caller.timestamp().unix_seconds(),
    });
    if let Some(link) = caller.link() {
        parts["link"] = json!({
            "expires_at": link.expires_at(),
            "one_time": link.is_one_time(),
            "grant": link.grant().map(grant_json),
        });
    }
    submissions::describe(&mut parts, extensions);
    parts
}
