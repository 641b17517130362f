//! The layer in the stacks that people have.
//!
//! Each stack is sent something that was signed and something that was not. Where the order of its layers matters, the
//! wrong order stands next to the right one, with what comes of it.

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

/// The same without axum, on the crate's own body, whose error a service can tell from its own.
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

/// What a service over axum's body answers: status and text.
async fn ask<S, B>(service: S, request: Request<impl Into<Body>>) -> (u16, String)
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let response = respond(service, request).await;
    (response.status().as_u16(), String::from_utf8(response.into_body().to_vec()).unwrap())
}

/// What the verifier, and nothing else in the stack, refuses a request with.
async fn refusal<S, B>(service: S, request: Request<impl Into<Body>>) -> (u16, String)
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let response = respond(service, request).await;
    assert_eq!(response.headers().get("content-type").unwrap(), "application/problem+json", "{response:?}");
    let problem: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
    (response.status().as_u16(), problem["code"].as_str().unwrap().to_owned())
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// Asserts that the service lets a signed request in, and no other.
async fn lets_in_only_signed<S, B>(service: S, text: &str)
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone,
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let order = || post("/orders", "text/plain", "1");
    assert_eq!(ask(service.clone(), signed(order())).await, (200, text.to_owned()));
    assert_eq!(refusal(service.clone(), order()).await, refused(401, "unsigned"));
    let mut forged = signed(order());
    *forged.body_mut() = "2";
    assert_eq!(refusal(service, forged).await, refused(401, "body_mismatch"));
}
