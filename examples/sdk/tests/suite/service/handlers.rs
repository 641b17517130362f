//! The calls, behind the verifier.

use axum::{
    Json,
    body::{Body, Bytes, to_bytes},
    extract::{Multipart, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Redirect, Response},
};
use orders_sdk::IDEMPOTENCY_KEY;
use serde_json::{Value, json};

use super::Service;

pub(super) async fn place(State(service): State<Service>, headers: HeaderMap, order: Bytes) -> Response {
    let order: Value = serde_json::from_slice(&order).unwrap();
    match order["symbol"].as_str().unwrap() {
        "NOPE" => {
            let problem = json!({"code": "unknown_symbol", "message": "there is no symbol NOPE"});
            return (StatusCode::UNPROCESSABLE_ENTITY, Json(problem)).into_response();
        }
        "TEXT" => return "placed".into_response(),
        "LONG" => {
            let receipt = json!({"id": 0, "symbol": "LONG", "quantity": 10});
            return format!("{receipt}{}", " ".repeat(3 << 20)).into_response();
        }
        "LONG ERROR" => return (StatusCode::INTERNAL_SERVER_ERROR, "x".repeat(3 << 20)).into_response(),
        "MOVED" => return Redirect::temporary("/v1/orders?moved=1").into_response(),
        _ => {}
    }
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else { return StatusCode::BAD_REQUEST.into_response() };
    let mut seen = service.state.lock().unwrap();
    let (key, id) = (key.to_str().unwrap().to_owned(), seen.orders.len());
    let receipt = match seen.placed.get(&key) {
        Some(receipt) => receipt.clone(),
        None => json!({"id": id, "symbol": order["symbol"], "quantity": order["quantity"]}),
    };
    if seen.placed.insert(key, receipt.clone()).is_none() {
        seen.orders.push(receipt.clone());
    }
    Json(receipt).into_response()
}

pub(super) async fn list(State(service): State<Service>) -> Json<Value> {
    Json(service.state.lock().unwrap().orders.clone().into())
}

pub(super) async fn store(body: Body) -> Response {
    match to_bytes(body, usize::MAX).await {
        Ok(bytes) => Json(json!({"bytes": bytes.len()})).into_response(),
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
    }
}

pub(super) async fn store_form(mut form: Multipart) -> Json<Value> {
    let mut parts = Vec::new();
    while let Some(part) = form.next_field().await.unwrap() {
        let name = part.name().unwrap().to_owned();
        parts.push((name, part.bytes().await.unwrap()));
    }
    assert_eq!(parts.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["title", "file"]);
    Json(json!({"bytes": parts[1].1.len()}))
}
