//! Slow handlers and slow bodies, on a clock that jumps ahead when nothing else is left to be done.

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

use super::{ask, layer, lets_in_only_signed, order, refusal, refused};
use crate::rig::{form, post, signed};

const SECOND: Duration = Duration::from_secs(1);
const TEN: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3600);

fn orders() -> Router {
    Router::new().route("/orders", on_post(order)).route("/slow", on_post(|| sleep(HOUR)))
}

/// Sends its first byte and no other.
fn stalls() -> Body {
    let first = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from("a")))]);
    Body::new(StreamBody::new(first.chain(stream::pending())))
}

/// Sends one byte each second, without an end.
fn trickles() -> Body {
    Body::new(StreamBody::new(stream::unfold((), |()| async {
        sleep(SECOND).await;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from("a"))), ()))
    })))
}

/// One that is read once it is verified, and one that is read before.
fn requests() -> [Request<&'static str>; 2] {
    [signed(post("/orders", "text/plain", "a")), signed(form("/orders", "a=1"))]
}

/// The verifier's own deadlines, of a body and of a form.
const DEADLINES: [Duration; 2] = [Duration::from_secs(300), Duration::from_secs(15)];

/// What the service answers and after how long, if within an hour.
async fn timed<S, B>(service: S, request: Request<Body>) -> Option<(u16, Duration)>
where
    S: Service<Request<Body>, Response = http::Response<B>, Error = Infallible>,
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let started = Instant::now();
    let (status, _) = timeout(HOUR - SECOND, ask(service, request)).await.ok()?;
    Some((status, started.elapsed()))
}

fn timeout_layer() -> TimeoutLayer {
    TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, TEN)
}

#[tokio::test(start_paused = true)]
async fn a_timeout_outside_ends_slow_handlers_and_slow_bodies() {
    let app = orders().layer(ServiceBuilder::new().layer(timeout_layer()).layer(layer()));
    lets_in_only_signed(app.clone(), "demo orders 1").await;
    let slow = post("/slow", "text/plain", "1");
    assert_eq!(timed(app.clone(), signed(slow.clone()).map(Body::from)).await, Some((504, TEN)));
    assert_eq!(timed(app.clone(), slow.map(Body::from)).await, Some((401, Duration::ZERO)));
    let [body, form] = requests();
    for request in [&body, &form] {
        assert_eq!(timed(app.clone(), request.clone().map(|_| stalls())).await, Some((504, TEN)));
    }
    assert_eq!(refusal(app.clone(), body).await, refused(401, "replayed_nonce"), "it had proved itself");
    assert_eq!(ask(app.clone(), form).await.0, 200, "it had not");
    for request in requests() {
        assert_eq!(timed(app.clone(), request.map(|_| trickles())).await, Some((504, TEN)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_inside_does_not_end_slow_bodies() {
    let app = orders().layer(ServiceBuilder::new().layer(layer()).layer(timeout_layer()));
    lets_in_only_signed(app.clone(), "demo orders 1").await;
    let slow = signed(post("/slow", "text/plain", "1")).map(Body::from);
    assert_eq!(timed(app.clone(), slow).await, Some((504, TEN)));
    for (request, deadline) in requests().into_iter().zip(DEADLINES) {
        assert_eq!(timed(app.clone(), request.map(|_| stalls())).await, Some((400, deadline)));
    }
}

#[tokio::test(start_paused = true)]
async fn outer_body_timeout_ends_only_stalled_bodies() {
    let stack = ServiceBuilder::new()
        .layer(RequestBodyTimeoutLayer::new(TEN))
        .layer(MapRequestBodyLayer::new(Body::new))
        .layer(layer());
    let app = orders().layer(stack);
    lets_in_only_signed(app.clone(), "demo orders 1").await;
    for request in requests() {
        let started = Instant::now();
        let answer = refusal(app.clone(), request.map(|_| stalls())).await;
        assert_eq!((answer, started.elapsed()), (refused(400, "malformed_field"), TEN));
    }
    for (request, deadline) in requests().into_iter().zip(DEADLINES) {
        let answer = timed(app.clone(), request.map(|_| trickles())).await;
        assert_eq!(answer, Some((400, deadline)), "each byte starts it anew, but for the verifier's deadline");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_deadline_above_ends_a_body_that_trickles() {
    let stack = ServiceBuilder::new()
        .layer(RequestBodyDeadlineLayer::new(TEN))
        .layer(MapRequestBodyLayer::new(Body::new))
        .layer(layer());
    let app = orders().layer(stack);
    lets_in_only_signed(app.clone(), "demo orders 1").await;
    for request in requests() {
        assert_eq!(timed(app.clone(), request.map(|_| trickles())).await, Some((400, TEN)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_timeout_inside_is_too_late() {
    let app = orders().layer(ServiceBuilder::new().layer(layer()).layer(RequestBodyTimeoutLayer::new(TEN)));
    lets_in_only_signed(app.clone(), "demo orders 1").await;
    for (request, deadline) in requests().into_iter().zip(DEADLINES) {
        assert_eq!(timed(app.clone(), request.map(|_| stalls())).await, Some((400, deadline)));
    }
}
