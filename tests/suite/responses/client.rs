//! The client takes any response without a valid signature for an unknown outcome, and sends nothing again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{Router, body::Body};
use bytes::Bytes;
use countersign::{
    Refusal, RejectionKind, ResponseErrorKind, SendError, SignErrorKind, SignLayer,
    client::{CheckResponses, CheckResponsesLayer, SignedBody},
    clock::ManualClock,
};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use tower::{BoxError, Layer, ServiceExt, service_fn, util::BoxCloneService};

use super::{responding, signing};
use crate::rig::{self, NOW, signer};

type Client = BoxCloneService<Request<SignedBody>, Response<Body>, BoxError>;

fn ok_service() -> Router {
    signing(rig::verifier().0, responding(|| Response::new(Body::from("ok"))))
}

/// Sends requests to a service through this proxy, without a network.
fn through<F, R>(proxy: F) -> Client
where
    F: Fn(Request<Body>) -> R + Clone + Send + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    BoxCloneService::new(service_fn(move |request: Request<SignedBody>| {
        let response = proxy(request.map(Body::new));
        async move { Ok(response.await) }
    }))
}

async fn call(service: &Router, request: Request<Body>) -> Response<Body> {
    service.clone().oneshot(request).await.unwrap()
}

/// Changes the responses of a service that signs them.
fn changing(change: impl Fn(&mut Response<Body>) + Clone + Send + Sync + 'static) -> Client {
    let service = ok_service();
    through(move |request| {
        let (service, change) = (service.clone(), change.clone());
        async move {
            let mut response = call(&service, request).await;
            change(&mut response);
            response
        }
    })
}

fn layer_at(clock: &ManualClock) -> SignLayer {
    SignLayer::new(signer().with_clock(clock.clone()))
}

fn layer() -> CheckResponsesLayer {
    layer_at(&ManualClock::at(NOW)).require_signed_responses()
}

async fn send(
    client: &CheckResponses<Client>,
    request: http::request::Builder,
    body: &'static str,
) -> Result<Response<Full<Bytes>>, SendError> {
    client.clone().oneshot(request.body(Full::<Bytes>::from(body)).unwrap()).await
}

async fn get(client: &CheckResponses<Client>) -> Result<Response<Full<Bytes>>, SendError> {
    send(client, Request::get("https://api/"), "").await
}

/// What is wrong with the response, and the code of the refusal that it claims to be.
fn unknown(result: Result<Response<Full<Bytes>>, SendError>) -> (ResponseErrorKind, Option<String>) {
    let error = result.unwrap_err();
    assert!(error.to_string().starts_with("the outcome of the request is unknown: "), "{error}");
    let kind = error.response_error().unwrap().kind();
    let SendError::OutcomeUnknown { refusal, .. } = error else { panic!("{error:?}") };
    (kind, refusal.map(|refusal| refusal.code().to_owned()))
}

#[tokio::test]
async fn signed_response_passes() {
    let client = layer().layer(changing(|_| ()));
    for request in [Request::get("https://api/"), Request::head("https://api/")] {
        let response = send(&client, request, "").await.unwrap();
        assert_eq!(response.status(), 200);
    }
    let response = send(&client, Request::post("https://api/"), "text").await.unwrap();
    assert_eq!(rig::bytes(response.into_body()).await, "text");
}

#[tokio::test]
async fn changed_response_is_an_unknown_outcome() {
    use ResponseErrorKind::{BodyMismatch, InvalidSignature, Malformed, Unsigned};
    fn remove(response: &mut Response<Body>, names: &[&'static str]) {
        names.iter().for_each(|name| drop(response.headers_mut().remove(*name)));
    }
    let all = &["x-response-timestamp", "x-response-content-sha256", "x-response-sign"];
    type Change = fn(&mut Response<Body>);
    let cases: [(Change, ResponseErrorKind); 5] = [
        (|response| *response.status_mut() = StatusCode::CREATED, InvalidSignature),
        (|response| *response.body_mut() = Body::from("no"), BodyMismatch),
        (|response| remove(response, &["x-response-sign"]), Malformed),
        (|response| remove(response, &["content-type", "x-response-timestamp"]), Malformed),
        (
            |response| drop(response.headers_mut().insert("content-type", "text/html".parse().unwrap())),
            InvalidSignature,
        ),
    ];
    for (change, kind) in cases {
        assert_eq!(unknown(get(&layer().layer(changing(change))).await), (kind, None));
    }
    let unsigned = layer().layer(changing(move |response| remove(response, all)));
    assert_eq!(unknown(get(&unsigned).await), (Unsigned, None));
}

/// The proxy holds back the response, sends the request again, and passes on the genuine refusal.
#[tokio::test]
async fn held_back_response_is_an_unknown_outcome() {
    let service = ok_service();
    let client = layer().layer(through(move |request| {
        let service = service.clone();
        async move {
            let (parts, _) = request.into_parts();
            let held_back = call(&service, Request::from_parts(parts.clone(), Body::empty())).await;
            assert_eq!(held_back.status(), 200);
            call(&service, Request::from_parts(parts, Body::empty())).await
        }
    }));
    let refusal = Some("replayed_nonce".to_owned());
    assert_eq!(unknown(get(&client).await), (ResponseErrorKind::Unsigned, refusal));
}

#[tokio::test]
async fn unsigned_refusal_corrects_the_clock_for_later_requests_alone() {
    for method in ["GET", "POST"] {
        let (service, count) = (ok_service(), Arc::new(AtomicUsize::new(0)));
        let sent = count.clone();
        let client = through(move |request| {
            sent.fetch_add(1, SeqCst);
            let service = service.clone();
            async move { call(&service, request).await }
        });
        let layer = layer_at(&ManualClock::at(NOW + 600)).with_clock_correction().require_signed_responses();
        let client = layer.layer(client);
        let request = || Request::builder().method(method).uri("https://api/");
        let error = send(&client, request(), "").await.unwrap_err();
        assert_eq!(count.load(SeqCst), 1, "nothing is sent again");
        let SendError::OutcomeUnknown { refusal: Some(refusal), .. } = error else { panic!("{error:?}") };
        assert_eq!((refusal.kind(), refusal.is_clock_corrected()), (Some(RejectionKind::StaleTimestamp), true));
        // The response is checked by the corrected clock, too.
        assert_eq!(send(&client, request(), "").await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn response_outside_300_seconds_is_an_unknown_outcome() {
    // The response takes this long, by the client's clock.
    for (seconds, is_accepted) in [(300, true), (301, false)] {
        let (service, clock) = (ok_service(), ManualClock::at(NOW));
        let of_client = clock.clone();
        let client = layer_at(&clock).require_signed_responses().layer(through(move |request| {
            let (service, clock) = (service.clone(), of_client.clone());
            async move {
                let response = call(&service, request).await;
                clock.advance(Duration::from_secs(seconds));
                response
            }
        }));
        match get(&client).await {
            Ok(_) => assert!(is_accepted),
            error => assert_eq!((is_accepted, unknown(error).0), (false, ResponseErrorKind::StaleTimestamp)),
        }
    }
}

#[tokio::test]
async fn signed_refusal_is_a_response() {
    let service = ok_service();
    let client = layer().layer(through(move |request| {
        let (service, (parts, _)) = (service.clone(), request.into_parts());
        async move { call(&service, Request::from_parts(parts, Body::from("changed"))).await }
    }));
    let response = send(&client, Request::post("https://api/"), "as it was signed").await.unwrap();
    let refusal = response.extensions().get::<Refusal>().unwrap();
    assert_eq!(refusal.kind(), Some(RejectionKind::BodyMismatch));
}

#[tokio::test]
async fn large_or_broken_body_is_an_unknown_outcome() {
    let client = |limit| layer().with_max_response(limit).layer(changing(|_| ()));
    assert_eq!(get(&client(2)).await.unwrap().status(), 200);
    assert_eq!(unknown(get(&client(1)).await).0, ResponseErrorKind::BodyTooLarge);
    let broken = layer().layer(changing(|response| {
        let error = futures_util::stream::iter([Err::<Bytes, _>(std::io::Error::other("reset"))]);
        *response.body_mut() = Body::from_stream(error);
    }));
    assert_eq!(unknown(get(&broken).await).0, ResponseErrorKind::BrokenBody);
}

#[tokio::test]
async fn request_to_another_origin_is_not_sent() {
    let layer = layer_at(&ManualClock::at(NOW)).with_origins(["https://api"]).unwrap().require_signed_responses();
    let count = Arc::new(AtomicUsize::new(0));
    let sent = count.clone();
    let client = layer.layer(changing(move |_| _ = sent.fetch_add(1, SeqCst)));
    get(&client).await.unwrap();
    let error = send(&client, Request::get("https://elsewhere/"), "").await.unwrap_err();
    assert_eq!(error.sign_error().unwrap().kind(), SignErrorKind::Url);
    assert_eq!(count.load(SeqCst), 1);
}

#[tokio::test]
async fn client_accepts_no_encoding() {
    let service = signing(rig::verifier().0, responding(|| Response::new(Body::from("ok"))));
    let client = layer().layer(through(move |request| {
        assert_eq!(accepted(request.headers()), ["identity"]);
        let service = service.clone();
        async move { call(&service, request).await }
    }));
    let request = Request::get("https://api/").header("accept-encoding", "gzip").header("accept-encoding", "br");
    send(&client, request, "").await.unwrap();
}

fn accepted(headers: &HeaderMap) -> Vec<&str> {
    headers.get_all("accept-encoding").iter().map(|value| value.to_str().unwrap()).collect()
}
