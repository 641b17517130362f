//! The JSON bodies of requests.

use std::time::Duration;

use axum::http::{HeaderMap, header::CONTENT_TYPE};
use serde::de::DeserializeOwned;

use super::answer::Problem;

/// Reads a JSON object with `some` members. An empty body has none.
pub(super) fn parse<T: DeserializeOwned + Default>(headers: &HeaderMap, body: &[u8], some: &str) -> Result<T, Problem> {
    let body = body.trim_ascii();
    if body.is_empty() {
        return Ok(T::default());
    }
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Problem::bad_request("content-type: expected application/json"));
    }
    let expected = format!("expected a JSON object with {some}");
    // Serde reads a struct from an array too.
    if !body.starts_with(b"{") {
        return Err(Problem::bad_request(expected));
    }
    serde_json::from_slice(body).map_err(|error| Problem::bad_request(format!("{expected}: {error}")))
}

/// The lifetime that `ttl` sets.
pub(super) fn lifetime(seconds: u64) -> Result<Duration, Problem> {
    match seconds {
        0 => Err(Problem::bad_request("ttl: expected a number of seconds from 1 on")),
        seconds => Ok(Duration::from_secs(seconds)),
    }
}
