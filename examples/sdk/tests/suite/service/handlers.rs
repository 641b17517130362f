//! The calls, behind the verifier.

use std::time::Duration;

use axum::{
    Json,
    body::{Body, Bytes, to_bytes},
    extract::{Multipart, State},
    http::{StatusCode, header::CACHE_CONTROL},
    response::{IntoResponse, Redirect, Response},
};
use serde_json::{Value, json};

use super::Service;

pub(super) async fn place(State(service): State<Service>, order: Bytes) -> Response {
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
    // A second run of an order would place it twice: `SubmitOnceLayer` prevents it.
    let receipt = {
        let orders = &mut service.state.lock().unwrap().orders;
        let receipt = json!({"id": orders.len(), "symbol": order["symbol"], "quantity": order["quantity"]});
        orders.push(receipt.clone());
        receipt
    };
    match order["symbol"].as_str().unwrap() {
        "SLOW" => tokio::time::sleep(Duration::from_millis(800)).await,
        "BROKEN" => return StatusCode::GATEWAY_TIMEOUT.into_response(),
        "PRIVATE" => return ([(CACHE_CONTROL, "no-store")], Json(receipt)).into_response(),
        _ => {}
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
