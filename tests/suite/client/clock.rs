//! The clock of a client, and its correction by the verifier's.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use countersign::{
    Refusal, RejectionKind, SignLayer, Verifier,
    client::{Sign, SignedBody},
    clock::ManualClock,
    server::{ServiceBody, UnverifiedBody},
};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn, util::BoxCloneService};

use crate::rig::{self, NOW, signer};

type Body = UnsyncBoxBody<Bytes, BoxError>;
type Client = BoxCloneService<Request<SignedBody>, Response<Body>, BoxError>;

/// A service behind a verifier at [`NOW`], called without a network.
fn service() -> Client {
    let service = service_fn(|_: Request<ServiceBody>| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("ok"))))
    });
    let service = rig::verifier().0.into_layer().layer(service);
    BoxCloneService::new(
        service
            .map_request(|request: Request<SignedBody>| request.map(UnverifiedBody::new))
            .map_response(|response: Response<_>| response.map(|body| body.map_err(Into::into).boxed_unsync()))
            .map_err(Into::into),
    )
}

fn client(layer: impl FnOnce(SignLayer) -> SignLayer, clock: &ManualClock) -> Sign<Client> {
    layer(SignLayer::new(signer().with_clock(clock.clone()))).layer(service())
}

async fn get<S, B>(client: &S, url: &str) -> Response<B>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error: std::fmt::Debug> + Clone,
{
    client.clone().oneshot(Request::get(url).body(Full::default()).unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_clock_ten_minutes_off_is_corrected_in_one_call() {
    for offset in [-600, 600, -86_000, 86_000] {
        let clock = ManualClock::at(NOW.checked_add_signed(offset).unwrap());
        let client = client(SignLayer::with_clock_correction, &clock);
        for path in ["", "a", "b"] {
            let response = get(&client, &format!("https://api/{path}")).await;
            assert_eq!(response.status(), StatusCode::OK, "{offset}");
            assert!(response.extensions().get::<Refusal>().is_none());
        }
    }
}

#[tokio::test]
async fn without_correction_the_refusal_says_how_wrong_the_clock_is() {
    let clock = ManualClock::at(NOW - 600);
    let response = get(&client(|layer| layer, &clock), "https://api/").await;
    let refusal = response.extensions().get::<Refusal>().unwrap();
    assert_eq!(refusal.kind(), Some(RejectionKind::StaleTimestamp));
    assert_eq!((refusal.server_time(), refusal.clock_offset()), (Some(NOW), Some(600)));
    assert!(refusal.to_string().ends_with("; this clock is 600 s behind the verifier's: set it right"), "{refusal}");
}

#[tokio::test]
async fn a_clock_two_days_off_is_reported_and_not_corrected() {
    for offset in [-172_800_i64, 172_800] {
        let clock = ManualClock::at(NOW.checked_add_signed(offset).unwrap());
        let client = client(SignLayer::with_clock_correction, &clock);
        for _ in 0..2 {
            let response = get(&client, "https://api/").await;
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
            let refusal = response.extensions().get::<Refusal>().unwrap();
            assert_eq!(refusal.clock_offset(), Some(-offset));
            assert!(refusal.to_string().contains("172800 s"), "{refusal}");
        }
    }
}

#[tokio::test]
async fn nothing_is_learned_over_plain_http_unless_allowed() {
    let clock = ManualClock::at(NOW - 600);
    let secure = client(SignLayer::with_clock_correction, &clock);
    assert_eq!(get(&secure, "http://api/").await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(get(&secure, "https://api/").await.status(), StatusCode::OK);
    let insecure = client(SignLayer::with_insecure_clock_correction, &clock);
    assert_eq!(get(&insecure, "http://api/").await.status(), StatusCode::OK);
}

/// A server whose clock is right, behind a gateway that answers with this status and passes on the headers of a refusal
/// that another verifier made.
async fn attempts_behind_a_gateway(status: u16, code: &'static str) -> (usize, Option<i64>) {
    let calls = Arc::new(Mutex::new(0));
    let counted = calls.clone();
    let service = service_fn(move |_: Request<SignedBody>| {
        *counted.lock().unwrap() += 1;
        let response = Response::builder().status(status).header("x-error-code", code);
        let body = Full::<Bytes>::default().map_err(BoxError::from).boxed_unsync();
        async move { Ok::<_, BoxError>(response.header("x-server-time", NOW + 600).body(body).unwrap()) }
    });
    let layer = SignLayer::new(signer().with_clock(ManualClock::at(NOW))).with_clock_correction();
    let response = get(&layer.layer(BoxCloneService::new(service)), "https://api/").await;
    let offset = response.extensions().get::<Refusal>().unwrap().clock_offset();
    (*calls.lock().unwrap(), offset)
}

#[tokio::test]
async fn only_a_refused_timestamp_corrects_the_clock() {
    assert_eq!(attempts_behind_a_gateway(502, "stale_timestamp").await, (1, None));
    assert_eq!(attempts_behind_a_gateway(401, "replayed_nonce").await, (1, None));
    assert_eq!(attempts_behind_a_gateway(401, "stale_timestamp").await, (2, Some(600)));
}

/// Without TLS, an attacker may let a POST through and make its response a refusal.
#[tokio::test]
async fn over_http_only_safe_methods_are_sent_again() {
    let clock = ManualClock::at(NOW - 600);
    let client = client(SignLayer::with_insecure_clock_correction, &clock);
    let send = |method: &str| {
        let request = Request::builder().method(method).uri("http://api/").body(Full::default()).unwrap();
        client.clone().oneshot(request)
    };
    let refused = send("POST").await.unwrap();
    let refusal = refused.extensions().get::<Refusal>().unwrap();
    assert_eq!((refusal.kind(), refusal.is_clock_corrected()), (Some(RejectionKind::StaleTimestamp), true));
    assert_eq!(send("POST").await.unwrap().status(), StatusCode::OK);
    clock.advance(Duration::from_secs(600));
    assert_eq!(send("GET").await.unwrap().status(), StatusCode::OK, "a GET is repeated");
}

#[tokio::test]
async fn an_offset_of_https_is_not_used_for_http() {
    let (service, got) = refusing(NOW + 600);
    let layer = SignLayer::new(signer().with_clock(ManualClock::at(NOW))).with_clock_correction();
    let client = layer.layer(service);
    let digest = countersign::BodyDigest::of(b"file");
    // A streamed request is not repeated, so its offset stays.
    let request = || Request::put("https://api/").extension(digest).body(Full::new(Bytes::from("file"))).unwrap();
    client.clone().oneshot(request()).await.unwrap();
    get(&client, "http://api/").await;
    let refused = client.clone().oneshot(request()).await.unwrap();
    assert!(refused.extensions().get::<Refusal>().unwrap().to_string().contains("the clocks agree"));
    client.clone().oneshot(request()).await.unwrap();
    assert_eq!(*got.lock().unwrap(), [NOW, NOW, NOW + 600, NOW], "an offset that is refused is forgotten");
}

/// A service that has carried out a request may pass on the headers of another verifier's refusal.
#[tokio::test]
async fn the_time_of_another_verifier_does_not_pass_the_layer() {
    let service = service_fn(|_: Request<ServiceBody>| async {
        let response = Response::builder().status(401).header("x-error-code", "stale_timestamp");
        Ok::<_, Infallible>(response.header("x-server-time", NOW + 250).body(Full::new(Bytes::new())).unwrap())
    });
    let service = rig::verifier().0.into_layer().layer(service);
    let response = service.oneshot(rig::incoming(rig::signed(rig::get("/")))).await.unwrap();
    assert_eq!(response.headers()["x-error-code"], "stale_timestamp");
    assert!(!response.headers().contains_key("x-server-time"));
}

/// The attacker holds back the body of a genuine refusal.
#[tokio::test]
async fn the_clock_is_read_when_the_head_arrives() {
    let clock = ManualClock::at(NOW - 600);
    let late = clock.clone();
    let service = service_fn(move |_: Request<SignedBody>| {
        let late = late.clone();
        let body = futures_util::stream::once(async move {
            late.advance(Duration::from_secs(290));
            Ok::<_, BoxError>(http_body::Frame::data(Bytes::from("{}")))
        });
        let body = http_body_util::StreamBody::new(body).boxed_unsync();
        let response = Response::builder().status(401).header("x-error-code", "stale_timestamp");
        let response = response.header("content-type", "application/problem+json").header("x-server-time", NOW);
        async { Ok::<_, BoxError>(response.body(body).unwrap()) }
    });
    let client = SignLayer::new(signer().with_clock(clock)).layer(BoxCloneService::new(service));
    let response = get(&client, "https://api/").await;
    assert_eq!(response.extensions().get::<Refusal>().unwrap().clock_offset(), Some(600));
}

#[tokio::test]
async fn small_offsets_are_no_wrong_clock() {
    // A verifier that has started just now refuses earlier timestamps.
    let clock = ManualClock::at(NOW - 2);
    let verifier = Verifier::new(rig::keys()).with_clock(ManualClock::at(NOW));
    let request = rig::signed_by(&signer().with_clock(clock.clone()), NOW - 2, rig::get("/"));
    let (parts, body) = rig::verify(&verifier, request).await.unwrap_err().to_response().into_parts();
    let service = service_fn(move |_: Request<SignedBody>| {
        let body = Full::new(body.clone()).map_err(BoxError::from).boxed_unsync();
        let response = Response::from_parts(parts.clone(), body);
        async move { Ok::<_, BoxError>(response) }
    });
    let client = SignLayer::new(signer().with_clock(clock)).layer(BoxCloneService::new(service));
    let response = get(&client, "https://api/").await;
    let refusal = response.extensions().get::<Refusal>().unwrap();
    assert!(refusal.to_string().contains("; the clocks agree, so "), "{refusal}");
}

/// A server that refuses each timestamp, and the timestamps that it got.
fn refusing(server_time: u64) -> (Client, Arc<Mutex<Vec<u64>>>) {
    let got = Arc::new(Mutex::new(Vec::new()));
    let timestamps = got.clone();
    let service = service_fn(move |request: Request<SignedBody>| {
        let timestamp = request.headers()["x-timestamp"].to_str().unwrap().parse().unwrap();
        timestamps.lock().unwrap().push(timestamp);
        let response = Response::builder().status(401).header("x-error-code", "stale_timestamp");
        let body = Full::<Bytes>::default().map_err(BoxError::from).boxed_unsync();
        async move { Ok::<_, BoxError>(response.header("x-server-time", server_time).body(body).unwrap()) }
    });
    (BoxCloneService::new(service), got)
}

#[tokio::test]
async fn an_offset_that_does_not_help_is_forgotten() {
    let (service, got) = refusing(NOW + 600);
    let layer = SignLayer::new(signer().with_clock(ManualClock::at(NOW))).with_clock_correction();
    let client = layer.layer(service);
    for _ in 0..2 {
        let response = get(&client, "https://api/").await;
        assert_eq!(response.extensions().get::<Refusal>().unwrap().clock_offset(), Some(600));
    }
    assert_eq!(*got.lock().unwrap(), [NOW, NOW + 600, NOW, NOW + 600], "two attempts a call, and no more");
}

#[tokio::test]
async fn a_clock_that_is_set_right_later_is_followed() {
    let clock = ManualClock::at(NOW - 600);
    let client = client(SignLayer::with_clock_correction, &clock);
    assert_eq!(get(&client, "https://api/").await.status(), StatusCode::OK);
    clock.advance(Duration::from_secs(600));
    assert_eq!(get(&client, "https://api/").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn clones_share_the_offset() {
    let calls = Arc::new(Mutex::new(0));
    let (counted, service) = (calls.clone(), service());
    let counting = service_fn(move |request: Request<SignedBody>| {
        let (counted, service) = (counted.clone(), service.clone());
        async move {
            *counted.lock().unwrap() += 1;
            // All calls that begin together are refused together.
            tokio::task::yield_now().await;
            service.oneshot(request).await
        }
    });
    let layer = SignLayer::new(signer().with_clock(ManualClock::at(NOW - 600))).with_clock_correction();
    let client = layer.layer(BoxCloneService::new(counting));
    let together = async |count: usize| {
        let calls = (0..count).map(|_| get(&client, "https://api/"));
        for response in futures_util::future::join_all(calls).await {
            assert_eq!(response.status(), StatusCode::OK);
        }
    };
    together(20).await;
    assert_eq!(*calls.lock().unwrap(), 40, "each of the first calls is corrected");
    together(20).await;
    assert_eq!(*calls.lock().unwrap(), 60, "the offset is known to all clones");
}

#[tokio::test]
async fn a_streamed_request_is_not_repeated_and_its_next_attempt_is_right() {
    let clock = ManualClock::at(NOW - 600);
    let client = client(SignLayer::with_clock_correction, &clock);
    let digest = countersign::BodyDigest::of(b"file");
    let send = || {
        let request = Request::put("https://api/file").extension(digest).body(Full::new(Bytes::from("file"))).unwrap();
        client.clone().oneshot(request)
    };
    let response = send().await.unwrap();
    let refusal = response.extensions().get::<Refusal>().unwrap();
    assert_eq!((refusal.kind(), refusal.is_clock_corrected()), (Some(RejectionKind::StaleTimestamp), true));
    assert_eq!(send().await.unwrap().status(), StatusCode::OK);
}

/// The client of reqwest takes the same way.
#[tokio::test]
async fn reqwest_is_corrected_over_a_socket() {
    let clock = ManualClock::at(NOW - 3600);
    let verifier = Verifier::new(rig::keys()).with_clock(clock.clone());
    clock.advance(Duration::from_secs(3600));
    let app = axum::Router::new().fallback(super::echo).layer(verifier.into_layer());
    let address = super::serve(app).await;
    let layer = SignLayer::new(signer().with_clock(ManualClock::at(NOW - 600))).with_insecure_clock_correction();
    let reqwest = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let client = layer.layer(reqwest.clone());
    let response = client.clone().oneshot(reqwest.get(format!("http://{address}/a")).build().unwrap()).await.unwrap();
    assert_eq!(response.url().path(), "/a");
    assert_eq!(response.text().await.unwrap(), "/a ");
    let request = reqwest.post(format!("http://{address}/b")).body("order").build().unwrap();
    assert_eq!(client.clone().oneshot(request).await.unwrap().text().await.unwrap(), "/b order");
}
