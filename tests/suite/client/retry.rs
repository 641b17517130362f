//! Retries above the layer are signed again. Retries below the layer are replays.

use std::{
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::Router;
use bytes::Bytes;
use countersign::{Scheme, SignLayer, client::SignedBody};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tower::{ServiceBuilder, ServiceExt, retry::Policy, service_fn};

use super::{RequestLog, outcome, plain_client, serve, verify_layer};
use crate::rig::signer;

/// Retries a request this many times if the response is a 503.
#[derive(Clone)]
struct RetryOn503(usize);

impl RetryOn503 {
    fn decide(&mut self, status: Option<StatusCode>) -> Option<Ready<()>> {
        let again = self.0 > 0 && status == Some(StatusCode::SERVICE_UNAVAILABLE);
        self.0 -= usize::from(again);
        again.then(|| ready(()))
    }
}

impl<B: Clone, R, E> Policy<Request<B>, Response<R>, E> for RetryOn503 {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut Request<B>, result: &mut Result<Response<R>, E>) -> Option<Ready<()>> {
        self.decide(result.as_ref().ok().map(Response::status))
    }

    fn clone_request(&mut self, request: &Request<B>) -> Option<Request<B>> {
        Some(request.clone())
    }
}

impl<E> Policy<reqwest::Request, reqwest::Response, E> for RetryOn503 {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut reqwest::Request, result: &mut Result<reqwest::Response, E>) -> Option<Ready<()>> {
        self.decide(result.as_ref().ok().map(reqwest::Response::status))
    }

    fn clone_request(&mut self, request: &reqwest::Request) -> Option<reqwest::Request> {
        request.try_clone()
    }
}

/// A verified service that returns 503 to the first request after the verifier has accepted it.
async fn busy_once() -> (String, RequestLog) {
    let count = Arc::new(AtomicUsize::new(0));
    let orders = move || async move {
        match count.fetch_add(1, Ordering::Relaxed) {
            0 => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            _ => (StatusCode::OK, "done"),
        }
    };
    let log = RequestLog::default();
    let address = serve(log.recording(Router::new().fallback(orders).layer(verify_layer(Scheme::new())))).await;
    (format!("http://{address}/orders?a=1"), log)
}

fn order(url: &str) -> Request<Full<Bytes>> {
    Request::post(url).body(Full::new(Bytes::from("body"))).unwrap()
}

#[tokio::test]
async fn retry_above_the_layer_is_signed_again() {
    let (url, log) = busy_once().await;
    let again = tower::retry::RetryLayer::new(RetryOn503(1));
    let client = ServiceBuilder::new().layer(again).layer(SignLayer::new(signer())).service(plain_client());
    let response = client.oneshot(order(&url)).await.unwrap();
    assert_eq!(outcome(response).await, (200, "done".into()));
    let nonces = log.values_of("x-nonce");
    assert!(nonces.len() == 2 && nonces[0].is_some() && nonces[0] != nonces[1], "{nonces:?}");
}

#[tokio::test]
async fn retry_below_the_layer_is_a_replay() {
    let (url, log) = busy_once().await;
    let again = service_fn(|request: Request<SignedBody>| async {
        let (parts, body) = request.into_parts();
        let first = Request::from_parts(parts.clone(), body.try_clone().unwrap());
        assert_eq!(plain_client().oneshot(first).await?.status(), 503);
        plain_client().oneshot(Request::from_parts(parts, body)).await
    });
    let client = ServiceBuilder::new().layer(SignLayer::new(signer())).service(again);
    let response = client.oneshot(order(&url)).await.unwrap();
    assert_eq!(outcome(response).await, (401, "replayed_nonce".into()));
    let nonces = log.values_of("x-nonce");
    assert!(nonces.len() == 2 && nonces[0].is_some() && nonces[0] == nonces[1], "{nonces:?}");
}

#[tokio::test]
async fn reqwest_retry_above_the_layer_is_signed_again() {
    let (url, log) = busy_once().await;
    let again = tower::retry::RetryLayer::new(RetryOn503(1));
    let inner = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let request = inner.post(url).body("body").build().unwrap();
    let client = ServiceBuilder::new().layer(again).layer(SignLayer::new(signer())).service(inner);
    let response = client.oneshot(request).await.unwrap();
    assert_eq!(outcome(http::Response::<reqwest::Body>::from(response)).await, (200, "done".into()));
    let nonces = log.values_of("x-nonce");
    assert!(nonces.len() == 2 && nonces[0].is_some() && nonces[0] != nonces[1], "{nonces:?}");
}
