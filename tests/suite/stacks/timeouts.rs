//! Slow handlers and slow bodies, with Tokio's paused clock.

use std::{convert::Infallible, time::Duration};

use axum::{Router, body::Body, routing::post as on_post};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::time::{Instant, sleep, timeout};
use tower::{Service, ServiceBuilder};
use tower_http::{
    map_request_body::MapRequestBodyLayer,
    timeout::{RequestBodyDeadlineLayer, RequestBodyTimeoutLayer, TimeoutLayer},
};

use super::{assert_accepts_only_signed, layer, order, rejected, rejection, status_and_text};
use crate::rig::{form, post, signed};

const SECOND: Duration = Duration::from_secs(1);
const TEN: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3600);

fn orders() -> Router {
    Router::new().route("/orders", on_post(order)).route("/slow", on_post(|| sleep(HOUR)))
}

/// A body that sends its first byte and then stalls.
fn stalling() -> Body {
    let first = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from("a")))]);
    Body::new(StreamBody::new(first.chain(stream::pending())))
}

/// A body that sends one byte each second forever.
fn trickling() -> Body {
    Body::new(StreamBody::new(stream::unfold((), |()| async {
        sleep(SECOND).await;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from("a"))), ()))
    })))
}

/// A body that is read after verification, and a form, which is read before.
fn requests() -> [Request<&'static str>; 2] {
    [signed(post("/orders", "text/plain", "a")), signed(form("/orders", "a=1"))]
}

/// The verifier's default deadlines of a body and of a form.
const DEADLINES: [Duration; 2] = [Duration::from_secs(300), Duration::from_secs(15)];

/// The status of the response and the time until then, if it is within an hour.
async fn timed<S, B>(service: S, request: Request<Body>) -> Option<(u16, Duration)>
where
    S: Service<Request<Body>, Response = http::Response<B>, Error = Infallible>,
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let started = Instant::now();
    let (status, _) = timeout(HOUR - SECOND, status_and_text(service, request)).await.ok()?;
    Some((status, started.elapsed()))
}

fn timeout_layer() -> TimeoutLayer {
    TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, TEN)
}

#[tokio::test(start_paused = true)]
async fn outer_timeout_ends_slow_handlers_and_bodies() {
    let app = orders().layer(ServiceBuilder::new().layer(timeout_layer()).layer(layer()));
    assert_accepts_only_signed(app.clone(), "demo orders 1").await;
    let slow = post("/slow", "text/plain", "1");
    assert_eq!(timed(app.clone(), signed(slow.clone()).map(Body::from)).await, Some((504, TEN)));
    assert_eq!(timed(app.clone(), slow.map(Body::from)).await, Some((401, Duration::ZERO)));
    let [body, form] = requests();
    for request in [&body, &form] {
        assert_eq!(timed(app.clone(), request.clone().map(|_| stalling())).await, Some((504, TEN)));
    }
    assert_eq!(rejection(app.clone(), body).await, rejected(401, "replayed_nonce"), "its signature was verified");
    assert_eq!(status_and_text(app.clone(), form).await.0, 200, "its signature was not verified");
    for request in requests() {
        assert_eq!(timed(app.clone(), request.map(|_| trickling())).await, Some((504, TEN)));
    }
}

#[tokio::test(start_paused = true)]
async fn inner_timeout_does_not_end_slow_bodies() {
    let app = orders().layer(ServiceBuilder::new().layer(layer()).layer(timeout_layer()));
    assert_accepts_only_signed(app.clone(), "demo orders 1").await;
    let slow = signed(post("/slow", "text/plain", "1")).map(Body::from);
    assert_eq!(timed(app.clone(), slow).await, Some((504, TEN)));
    for (request, deadline) in requests().into_iter().zip(DEADLINES) {
        assert_eq!(timed(app.clone(), request.map(|_| stalling())).await, Some((400, deadline)));
    }
}

#[tokio::test(start_paused = true)]
async fn outer_body_timeout_ends_only_stalled_bodies() {
    let stack = ServiceBuilder::new()
        .layer(RequestBodyTimeoutLayer::new(TEN))
        .layer(MapRequestBodyLayer::new(Body::new))
        .layer(layer());
    let app = orders().layer(stack);
    assert_accepts_only_signed(app.clone(), "demo orders 1").await;
    for request in requests() {
        let started = Instant::now();
        let answer = rejection(app.clone(), request.map(|_| stalling())).await;
        assert_eq!((answer, started.elapsed()), (rejected(400, "malformed_field"), TEN));
    }
    for (request, deadline) in requests().into_iter().zip(DEADLINES) {
        let answer = timed(app.clone(), request.map(|_| trickling())).await;
        assert_eq!(answer, Some((400, deadline)), "each byte resets the timeout, but not the verifier's deadline");
    }
}

#[tokio::test(start_paused = true)]
async fn outer_body_deadline_ends_trickling_bodies() {
    let stack = ServiceBuilder::new()
        .layer(RequestBodyDeadlineLayer::new(TEN))
        .layer(MapRequestBodyLayer::new(Body::new))
        .layer(layer());
    let app = orders().layer(stack);
    assert_accepts_only_signed(app.clone(), "demo orders 1").await;
    for request in requests() {
        assert_eq!(timed(app.clone(), request.map(|_| trickling())).await, Some((400, TEN)));
    }
}

#[tokio::test(start_paused = true)]
async fn inner_body_timeout_has_no_effect() {
    let app = orders().layer(ServiceBuilder::new().layer(layer()).layer(RequestBodyTimeoutLayer::new(TEN)));
    assert_accepts_only_signed(app.clone(), "demo orders 1").await;
    for (request, deadline) in requests().into_iter().zip(DEADLINES) {
        assert_eq!(timed(app.clone(), request.map(|_| stalling())).await, Some((400, deadline)));
    }
}
