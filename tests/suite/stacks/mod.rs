//! The layer in common stacks.
//!
//! Each stack gets a signed request and an unsigned one. If the order of its layers matters, a test also shows the
//! effect of the wrong order.

mod axum;
mod encodings;
mod hyper;
mod limits;
mod timeouts;
mod tonic;
mod tower;
mod tower_http;
mod websocket;

use std::convert::Infallible;

use ::axum::body::Body;
use ::tower::{Service, ServiceExt};
use bytes::Bytes;
use countersign::{
    Caller, Scheme, StaticKeys, VerifyLayer,
    server::{BodyError, ServiceBody},
};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};

use crate::rig::{self, post, signed, verifier};

fn layer() -> VerifyLayer<StaticKeys> {
    layer_of(Scheme::new())
}

fn layer_of(scheme: Scheme) -> VerifyLayer<StaticKeys> {
    verifier().0.with_scheme(scheme).into_layer()
}

/// An axum handler.
async fn order(caller: Caller, body: String) -> String {
    format!("{} orders {body}", caller.app_id())
}

/// A tower service without axum, with the crate's body type and its error.
async fn streaming_service(request: Request<ServiceBody>) -> Result<Response<Full<Bytes>>, BodyError> {
    let mut body = request.into_body();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        length += frame?.into_data().map_or(0, |data| data.len());
    }
    Ok(Response::new(Full::new(format!("{length} bytes").into())))
}

async fn respond<S, B>(service: S, request: Request<impl Into<Body>>) -> Response<Bytes>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let (parts, body) = service.oneshot(request.map(Into::into)).await.unwrap().into_parts();
    Response::from_parts(parts, rig::bytes(body).await)
}

/// The status and text of the response of a service with axum's body.
async fn status_and_text<S, B>(service: S, request: Request<impl Into<Body>>) -> (u16, String)
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let response = respond(service, request).await;
    (response.status().as_u16(), String::from_utf8(response.into_body().to_vec()).unwrap())
}

/// The status and code of a rejection by the verifier. Fails for any other response.
async fn rejection<S, B>(service: S, request: Request<impl Into<Body>>) -> (u16, String)
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let response = respond(service, request).await;
    assert_eq!(response.headers().get("content-type").unwrap(), "application/problem+json", "{response:?}");
    let problem: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
    (response.status().as_u16(), problem["code"].as_str().unwrap().to_owned())
}

fn rejected(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// Asserts that the service accepts a signed request, and rejects an unsigned and a forged one.
async fn assert_accepts_only_signed<S, B>(service: S, text: &str)
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone,
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let order = || post("/orders", "text/plain", "1");
    assert_eq!(status_and_text(service.clone(), signed(order())).await, (200, text.to_owned()));
    assert_eq!(rejection(service.clone(), order()).await, rejected(401, "unsigned"));
    let mut forged = signed(order());
    *forged.body_mut() = "2";
    assert_eq!(rejection(service, forged).await, rejected(401, "body_mismatch"));
}
