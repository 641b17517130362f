//! Retries above the layer sign anew; below it they are replays.

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

use super::{Arrived, outcome, serve, unsigning, verifying};
use crate::rig::signer;

/// Sends again what was answered 503, so many times.
#[derive(Clone)]
struct Again(usize);

impl Again {
    fn decide(&mut self, status: Option<StatusCode>) -> Option<Ready<()>> {
        let again = self.0 > 0 && status == Some(StatusCode::SERVICE_UNAVAILABLE);
        self.0 -= usize::from(again);
        again.then(|| ready(()))
    }
}

impl<B: Clone, R, E> Policy<Request<B>, Response<R>, E> for Again {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut Request<B>, result: &mut Result<Response<R>, E>) -> Option<Ready<()>> {
        self.decide(result.as_ref().ok().map(Response::status))
    }

    fn clone_request(&mut self, request: &Request<B>) -> Option<Request<B>> {
        Some(request.clone())
    }
}

impl<E> Policy<reqwest::Request, reqwest::Response, E> for Again {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut reqwest::Request, result: &mut Result<reqwest::Response, E>) -> Option<Ready<()>> {
        self.decide(result.as_ref().ok().map(reqwest::Response::status))
    }

    fn clone_request(&mut self, request: &reqwest::Request) -> Option<reqwest::Request> {
        request.try_clone()
    }
}

/// A verified service that is busy at first: it answers 503 to a request that the verifier has let in.
async fn busy_at_first() -> (String, Arrived) {
    let count = Arc::new(AtomicUsize::new(0));
    let orders = move || async move {
        match count.fetch_add(1, Ordering::Relaxed) {
            0 => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            _ => (StatusCode::OK, "done"),
        }
    };
    let arrived = Arrived::default();
    let address = serve(arrived.at(Router::new().fallback(orders).layer(verifying(Scheme::new())))).await;
    (format!("http://{address}/orders?a=1"), arrived)
}

fn order(url: &str) -> Request<Full<Bytes>> {
    Request::post(url).body(Full::new(Bytes::from("body"))).unwrap()
}

#[tokio::test]
async fn a_retry_above_the_layer_is_signed_anew_and_let_in() {
    let (url, arrived) = busy_at_first().await;
    let again = tower::retry::RetryLayer::new(Again(1));
    let client = ServiceBuilder::new().layer(again).layer(SignLayer::new(signer())).service(unsigning());
    let response = client.oneshot(order(&url)).await.unwrap();
    assert_eq!(outcome(response).await, (200, "done".into()));
    let nonces = arrived.values_of("x-nonce");
    assert!(nonces.len() == 2 && nonces[0].is_some() && nonces[0] != nonces[1], "{nonces:?}");
}

#[tokio::test]
async fn a_retry_below_the_layer_is_a_replay() {
    let (url, arrived) = busy_at_first().await;
    let again = service_fn(|request: Request<SignedBody>| async {
        let (parts, body) = request.into_parts();
        let first = Request::from_parts(parts.clone(), body.try_clone().unwrap());
        assert_eq!(unsigning().oneshot(first).await?.status(), 503);
        unsigning().oneshot(Request::from_parts(parts, body)).await
    });
    let client = ServiceBuilder::new().layer(SignLayer::new(signer())).service(again);
    let response = client.oneshot(order(&url)).await.unwrap();
    assert_eq!(outcome(response).await, (401, "replayed_nonce".into()));
    let nonces = arrived.values_of("x-nonce");
    assert!(nonces.len() == 2 && nonces[0].is_some() && nonces[0] == nonces[1], "{nonces:?}");
}

#[tokio::test]
async fn a_retry_above_the_layer_over_reqwest_is_signed_anew_and_let_in() {
    let (url, arrived) = busy_at_first().await;
    let again = tower::retry::RetryLayer::new(Again(1));
    let inner = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let request = inner.post(url).body("body").build().unwrap();
    let client = ServiceBuilder::new().layer(again).layer(SignLayer::new(signer())).service(inner);
    let response = client.oneshot(request).await.unwrap();
    assert_eq!(outcome(http::Response::<reqwest::Body>::from(response)).await, (200, "done".into()));
    let nonces = arrived.values_of("x-nonce");
    assert!(nonces.len() == 2 && nonces[0].is_some() && nonces[0] != nonces[1], "{nonces:?}");
}
