//! Submissions of the echo server: each runs once, and a path answers as a client asks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Extension, Json, Router,
    extract::{Path, Query, Request, State},
    http::{HeaderValue, StatusCode, header::CACHE_CONTROL},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::any,
};
use countersign::{
    Scheme,
    submission::{Submission, SubmitOnceLayer},
};
use serde::Deserialize;
use serde_json::{Value, json};

/// How the server recognizes a repeated submission.
#[derive(Clone, Copy)]
pub(super) enum SubmitOnce {
    Key,
    Fingerprint(Duration),
}

/// Reads the value of `--submit-once`.
pub(super) fn parse(text: &str) -> Result<SubmitOnce, String> {
    match (text, text.parse()) {
        ("key", _) => Ok(SubmitOnce::Key),
        (_, Ok(seconds @ 1..=86_400)) => Ok(SubmitOnce::Fingerprint(Duration::from_secs(seconds))),
        _ => Err("expected the word key, or a number of seconds from 1 to 86400".to_owned()),
    }
}

impl SubmitOnce {
    /// The layer. Submissions are in the memory of this server.
    pub(super) fn layer(self, scheme: &Scheme) -> Result<SubmitOnceLayer, String> {
        match self {
            Self::Key => SubmitOnceLayer::by_key(scheme).map_err(|_| {
                "--submit-once key: the key must be signed: add --signed-header idempotency-key".to_owned()
            }),
            Self::Fingerprint(ttl) => Ok(SubmitOnceLayer::by_fingerprint(ttl)),
        }
    }
}

/// The number of a request among those that ran. A repeated submission does not run.
#[derive(Clone, Copy)]
struct Run(u64);

/// Adds the path `/_answer/{status}` to the routes, puts the layer around them, and adds the number of the run to their JSON.
pub(super) fn guard(routes: Router, layer: SubmitOnceLayer) -> Router {
    routes
        .route("/_answer/{status}", any(answer))
        .layer(middleware::from_fn_with_state(Arc::new(AtomicU64::new(0)), run))
        .layer(layer)
}

async fn run(State(runs): State<Arc<AtomicU64>>, mut request: Request, next: Next) -> Response {
    let run = Run(runs.fetch_add(1, Ordering::SeqCst) + 1);
    request.extensions_mut().insert(run);
    next.run(request).await
}

/// Adds what the server knows of the submission to an echo.
pub(super) fn describe(echo: &mut Value, extensions: &http::Extensions) {
    if let Some(Run(run)) = extensions.get() {
        echo["run"] = (*run).into();
        let key = extensions.get::<Submission>().and_then(Submission::key);
        echo["idempotency_key"] = key.map(|key| key.as_str()).into();
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// In seconds.
    #[serde(default)]
    delay: u16,
    #[serde(default)]
    no_store: bool,
}

/// Answers with the status that the client wants to see.
async fn answer(
    Extension(Run(run)): Extension<Run>,
    Path(status): Path<u16>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, (StatusCode, String)> {
    let status = StatusCode::from_u16(status).ok().filter(|status| *status >= StatusCode::OK);
    let status = status.ok_or((StatusCode::BAD_REQUEST, "expected a status from 200 to 999\n".to_owned()))?;
    tokio::time::sleep(Duration::from_secs(wanted.delay.into())).await;
    let mut response = (status, Json(json!({ "run": run }))).into_response();
    if wanted.no_store {
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    Ok(response)
}
