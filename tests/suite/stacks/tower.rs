//! Plain tower services with any body, without axum and without a server.

use bytes::Bytes;
use countersign::server::{ServiceBody, UnverifiedBody};
use futures_util::FutureExt;
use http::{Request, Response, StatusCode};
use http_body_util::{Channel, Full};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_http::map_request_body::MapRequestBodyLayer;

use super::{layer, streaming_service};
use crate::rig::{self, form, get, incoming, post, signed};

#[tokio::test]
async fn layer_works_with_any_tower_body() {
    let service = ServiceBuilder::new()
        .layer(MapRequestBodyLayer::new(UnverifiedBody::new))
        .layer(layer())
        .service(service_fn(streaming_service));
    let request = signed(post("/", "text/plain", "four")).map(|body| Full::new(Bytes::from(body)));
    let response = service.clone().oneshot(request).await.unwrap();
    assert_eq!(rig::bytes(response.into_body()).await, "4 bytes");
    let response = service.oneshot(get("/").map(|body| Full::new(Bytes::from(body)))).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn service_error_is_passed_through() {
    let broken = service_fn(|_: Request<ServiceBody>| async { Err::<Response<Full<Bytes>>, _>("out of order") });
    let service = layer().layer(broken);
    assert_eq!(service.clone().oneshot(incoming(signed(get("/")))).await.unwrap_err(), "out of order");
    assert_eq!(service.oneshot(incoming(get("/"))).await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn ready_service_is_the_called_service() {
    let limited = ServiceBuilder::new().concurrency_limit(1).service(service_fn(streaming_service));
    let mut service = layer().layer(limited);
    for _ in 0..3 {
        let request = incoming(signed(get("/")));
        let response = ready(&mut service).await.call(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }
}

/// SECURITY.md describes this: a caller without a key can hold a permit of an inner limit by sending a form slowly.
#[tokio::test]
async fn slow_form_holds_an_inner_concurrency_permit() {
    let limited = ServiceBuilder::new().concurrency_limit(1).service(service_fn(streaming_service));
    let service = layer().layer(limited);
    for (sent, expected) in [("a=1", StatusCode::OK), ("a=2", StatusCode::UNAUTHORIZED)] {
        let (mut first, mut second) = (service.clone(), service.clone());
        let (mut sender, body) = Channel::<Bytes>::new(1);
        let request = signed(form("/", "a=1")).map(|_| UnverifiedBody::new(body));
        let answer = tokio::spawn(ready(&mut first).await.call(request));
        sender.send_data(sent[..1].into()).await.unwrap();
        tokio::task::yield_now().await;
        assert!(!is_ready_now(&mut second), "the form is not complete");
        sender.send_data(sent[1..].into()).await.unwrap();
        drop(sender);
        assert_eq!(answer.await.unwrap().unwrap().status(), expected);
        assert!(is_ready_now(&mut second), "{expected} released the permit");
    }
}

/// With an outer limit, unverified requests hold permits as well.
#[tokio::test]
async fn outer_concurrency_limit_covers_slow_forms() {
    let mut first = ServiceBuilder::new().concurrency_limit(1).layer(layer()).service(service_fn(streaming_service));
    let mut second = first.clone();
    let (sender, body) = Channel::<Bytes>::new(1);
    let request = signed(form("/", "a=1")).map(|_| UnverifiedBody::new(body));
    let answer = ready(&mut first).await.call(request);
    assert!(!is_ready_now(&mut second));
    drop((sender, answer));
    assert!(is_ready_now(&mut second), "a cancelled call releases its permit");
    let response = ready(&mut second).await.call(incoming(get("/"))).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}

/// Fixes the body type, which the compiler cannot infer.
async fn ready<S: Service<Request<UnverifiedBody>, Error: std::fmt::Debug>>(service: &mut S) -> &mut S {
    service.ready().await.unwrap()
}

fn is_ready_now<S: Service<Request<UnverifiedBody>, Error: std::fmt::Debug>>(service: &mut S) -> bool {
    ready(service).now_or_never().is_some()
}
