//! Plain tower services, without axum and without a server: over any body.

use bytes::Bytes;
use countersign::server::{ServiceBody, UnverifiedBody};
use futures_util::FutureExt;
use http::{Request, Response, StatusCode};
use http_body_util::{Channel, Full};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_http::map_request_body::MapRequestBodyLayer;

use super::{layer, streaming_service};
use crate::rig::{self, arriving, form, get, post, signed};

#[tokio::test]
async fn around_a_tower_service_on_any_body() {
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
async fn the_services_own_error_passes() {
    let broken = service_fn(|_: Request<ServiceBody>| async { Err::<Response<Full<Bytes>>, _>("out of order") });
    let service = layer().layer(broken);
    assert_eq!(service.clone().oneshot(arriving(signed(get("/")))).await.unwrap_err(), "out of order");
    assert_eq!(service.oneshot(arriving(get("/"))).await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_service_that_is_ready_is_the_one_that_is_called() {
    let limited = ServiceBuilder::new().concurrency_limit(1).service(service_fn(streaming_service));
    let mut service = layer().layer(limited);
    for _ in 0..3 {
        let request = arriving(signed(get("/")));
        let response = ready(&mut service).await.call(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }
}

/// SECURITY.md says so: nobody who sends forms slowly needs a key to take up what a limit inside has to give.
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
        assert!(is_ready_now(&mut second), "{expected} gave the permit back");
    }
}

/// With the limit outside, those wait who are not verified yet, and nothing else changes.
#[tokio::test]
async fn a_limit_outside_holds_while_a_form_trickles_in_too() {
    let mut first = ServiceBuilder::new().concurrency_limit(1).layer(layer()).service(service_fn(streaming_service));
    let mut second = first.clone();
    let (sender, body) = Channel::<Bytes>::new(1);
    let request = signed(form("/", "a=1")).map(|_| UnverifiedBody::new(body));
    let answer = ready(&mut first).await.call(request);
    assert!(!is_ready_now(&mut second));
    drop((sender, answer));
    assert!(is_ready_now(&mut second), "a call that is given up gives its permit back");
    let response = ready(&mut second).await.call(arriving(get("/"))).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}

/// Says over which body, of the many that it could be.
async fn ready<S: Service<Request<UnverifiedBody>, Error: std::fmt::Debug>>(service: &mut S) -> &mut S {
    service.ready().await.unwrap()
}

fn is_ready_now<S: Service<Request<UnverifiedBody>, Error: std::fmt::Debug>>(service: &mut S) -> bool {
    ready(service).now_or_never().is_some()
}
