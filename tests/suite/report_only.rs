//! The report-only layer: the requests that the service gets, and the reported verdicts.

use std::{
    convert::Infallible,
    error::Error,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use countersign::{
    Caller, Limits, Rejection, RejectionKind, Scheme, StaticKeys, TokenLocation, Verifier,
    danger::ReportOnlyLayer,
    server::{ServiceBody, UnverifiedBody},
    store::NonceStore,
};
use futures_util::FutureExt;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, StreamBody};
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimit, service_fn};
use tower_http::limit::RequestBodyLimitLayer;

use crate::rig::{self, form, get, incoming, post, signed, signed_by, verifier, verifier_on};

/// The request that the service got, and its reports.
struct Outcome {
    request: Request<ReceivedBody>,
    reports: Vec<String>,
}

#[derive(Default)]
struct ReceivedBody {
    length: Option<u64>,
    is_empty: bool,
    data: String,
    trailers: Option<HeaderMap>,
    error: Option<&'static str>,
}

impl Outcome {
    fn caller(&self) -> Option<&str> {
        self.request.extensions().get::<Caller>().map(|caller| caller.app_id().as_str())
    }

    fn kind(&self) -> Option<RejectionKind> {
        self.request.extensions().get().map(Rejection::kind)
    }
}

async fn record_body(request: Request<ServiceBody>) -> Result<Response<Request<ReceivedBody>>, Infallible> {
    let (parts, mut body) = request.into_parts();
    let (length, is_empty) = (body.size_hint().exact(), body.is_end_stream());
    let mut received = ReceivedBody { length, is_empty, ..ReceivedBody::default() };
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => received.data.push_str(std::str::from_utf8(&data).unwrap()),
            Ok(Err(frame)) => received.trailers = Some(frame.into_trailers().unwrap()),
            Err(error) => received.error = Some(error.rejection().kind().code()),
        }
    }
    Ok(Response::new(Request::from_parts(parts, received)))
}

async fn send_through<N: NonceStore>(verifier: &Verifier<StaticKeys, N>, request: Request<UnverifiedBody>) -> Outcome {
    let reports = Arc::new(Mutex::new(Vec::new()));
    let sink = reports.clone();
    let layer = ReportOnlyLayer::new(verifier.clone(), move |head, verdict| {
        let verdict = match verdict {
            Ok(caller) => caller.app_id().to_string(),
            Err(rejection) => rejection.kind().code().to_owned(),
        };
        sink.lock().unwrap().push(format!("{} {verdict}", head.uri));
    });
    let response = layer.layer(service_fn(record_body)).oneshot(request).await.unwrap();
    let reports = reports.lock().unwrap().clone();
    Outcome { request: response.into_body(), reports }
}

fn small(limit: u32) -> Verifier<StaticKeys> {
    verifier().0.with_limits(Limits::new().with_body(limit.into()).with_form(limit as usize))
}

type Frames = Vec<Result<Frame<Bytes>, &'static str>>;

fn data(text: &'static str) -> Result<Frame<Bytes>, &'static str> {
    Ok(Frame::data(Bytes::from(text)))
}

fn body(frames: Frames) -> UnverifiedBody {
    UnverifiedBody::new(StreamBody::new(futures_util::stream::iter(frames)))
}

#[tokio::test]
async fn verified_request_is_forwarded_like_the_verifier() {
    let mut request = signed(post("/p?a=1", "text/plain", "text"));
    *request.uri_mut() = "/p?a=1&admin".parse().unwrap();
    let outcome = send_through(&verifier().0, incoming(request)).await;
    assert_eq!(outcome.reports, ["/p?a=1&admin demo"], "the head is reported as it arrived");
    assert_eq!((outcome.caller(), outcome.kind()), (Some("demo"), None));
    assert_eq!(outcome.request.uri(), "/p?a=1");
    assert_eq!(outcome.request.body().data, "text");
}

#[tokio::test]
async fn rejected_request_is_forwarded_unchanged() {
    let verifier = verifier().0;
    let replayed = signed(post("/p?a=1&admin", "text/plain", "text"));
    assert_eq!(rig::code(&verifier, replayed.clone()).await, "accepted");
    let mut swapped = signed(post("/p?a=1&admin", "text/plain", "TEXT"));
    *swapped.body_mut() = "text";
    for (request, code) in [
        (post("/p?a=1&admin", "text/plain", "text"), "unsigned"),
        (signed_by(&rig::signer(), rig::NOW - 301, post("/p?a=1&admin", "text/plain", "text")), "stale_timestamp"),
        (swapped, "body_mismatch"),
        (replayed, "replayed_nonce"),
    ] {
        let mut request = incoming(request);
        request.headers_mut().insert("x-original-url", "/other".parse().unwrap());
        request.headers_mut().insert("content-length", 4.into());
        let headers = request.headers().clone();
        let outcome = send_through(&verifier, request).await;
        assert_eq!(outcome.reports, [format!("/p?a=1&admin {code}")]);
        assert_eq!(outcome.caller(), None);
        assert_eq!(outcome.kind().unwrap().code(), code);
        assert_eq!(outcome.request.uri(), "/p?a=1&admin");
        assert_eq!(outcome.request.headers(), &headers);
        let received = outcome.request.body();
        assert_eq!((&*received.data, received.length, received.is_empty), ("text", Some(4), false));
    }
}

#[tokio::test]
async fn buffered_body_is_forwarded_whole() {
    let trailers = || HeaderMap::from_iter([(http::HeaderName::from_static("x-sum"), "1".parse().unwrap())]);
    let frames = || vec![data("one"), data(""), data("two"), Ok(Frame::trailers(trailers()))];
    // The signature covers another body. A form is read before its signature is checked.
    let upload = || signed(post("/", "text/plain", "other")).map(|_| body(frames()));
    let forged_form = || {
        let mut request = signed(form("/", "a=1"));
        request.headers_mut().insert("x-sign", "0".repeat(64).parse().unwrap());
        request.map(|_| body(frames()))
    };
    for (request, limit, code) in [
        (upload(), 100, "body_mismatch"),
        (upload(), 5, "body_too_large"),
        (upload(), 2, "body_too_large"),
        (forged_form(), 100, "invalid_signature"),
        (forged_form(), 5, "body_too_large"),
    ] {
        let outcome = send_through(&small(limit), request).await;
        assert_eq!(outcome.reports, [format!("/ {code}")]);
        let received = outcome.request.body();
        assert_eq!(
            (&*received.data, &received.trailers, received.error),
            ("onetwo", &Some(trailers()), None),
            "{code}, {limit}"
        );
    }
}

#[tokio::test]
async fn interrupted_body_is_forwarded_up_to_the_error() {
    let broken = || signed(post("/", "text/plain", "onetwo")).map(|_| body(vec![data("one"), Err("reset")]));
    let outcome = send_through(&verifier().0, broken()).await;
    assert_eq!(outcome.reports, ["/ malformed_field"]);
    ReportOnlyLayer::new(verifier().0, |_, verdict| {
        let cause = verdict.unwrap_err().source().expect("the error has its cause");
        assert_eq!(cause.to_string(), "reset");
    })
    .layer(service_fn(record_body))
    .oneshot(broken())
    .await
    .unwrap();
    let received = outcome.request.body();
    assert_eq!((&*received.data, received.error), ("one", Some("malformed_field")));

    let limited = || http_body_util::Limited::new(Full::new(Bytes::from("onetwo")), 3);
    let request = signed(post("/", "text/plain", "onetwo")).map(|_| UnverifiedBody::new(limited()));
    let outcome = send_through(&verifier().0, request).await;
    assert_eq!(outcome.reports, ["/ body_too_large"], "the error of an outer limit is recognized");
    assert_eq!(outcome.request.body().error, Some("body_too_large"));
}

/// axum's extractors find the error of a body limit only at the depth at which axum itself wraps it.
#[tokio::test]
async fn outer_body_limit_still_returns_413() {
    let too_long = || {
        let frames = [Ok::<_, Infallible>(Bytes::from("one")), Ok(Bytes::from("two"))];
        axum::body::Body::from_stream(futures_util::stream::iter(frames))
    };
    let app = || axum::Router::new().route("/", axum::routing::post(async |body: Bytes| body));
    let limit = RequestBodyLimitLayer::new(3);
    let reporting = |verifier| app().layer(ReportOnlyLayer::new(verifier, |_, _| {}));
    let bypassing = verifier().0.with_insecure_bypass(|_, _| true).into_layer();
    for (layer, app) in [
        ("none", app()),
        ("reporting", reporting(verifier().0)),
        ("reporting at the end", reporting(verifier().0.with_streamed_bodies())),
        ("bypassing", app().layer(bypassing)),
    ] {
        for request in [post("/", "text/plain", "onetwo"), signed(post("/", "text/plain", "onetwo"))] {
            let request = request.map(|_| too_long());
            let response = app.clone().layer(limit).oneshot(request).await.unwrap();
            assert_eq!(response.status(), 413, "{layer}");
        }
    }
}

#[tokio::test]
async fn signature_and_token_are_marked_sensitive() {
    let plain = |request: Request<&'static str>| {
        let mut request = incoming(request);
        for value in request.headers_mut().values_mut() {
            value.set_sensitive(false);
        }
        request
    };
    for (place, name) in [(TokenLocation::Field, "x-token"), (TokenLocation::Bearer, "authorization")] {
        let scheme = Scheme::new().with_token_location(place).unwrap();
        let verifier = || verifier().0.with_scheme(scheme.clone());
        let signer = rig::signer_of(scheme.clone()).with_token("tok_1".parse().unwrap());
        let mut swapped = signed_by(&signer, rig::NOW, post("/", "text/plain", "TEXT"));
        *swapped.body_mut() = "text";
        let good = signed_by(&signer, rig::NOW, post("/", "text/plain", "text"));
        for request in [swapped, good] {
            let outcome = send_through(&verifier(), plain(request.clone())).await;
            assert!(outcome.request.headers()["x-sign"].is_sensitive());
            assert!(outcome.request.headers()[name].is_sensitive());
            let report = move |head: &http::request::Parts, _: Result<&Caller, &_>| {
                assert!(head.headers["x-sign"].is_sensitive() && head.headers[name].is_sensitive());
            };
            ReportOnlyLayer::new(verifier(), report)
                .layer(service_fn(record_body))
                .oneshot(plain(request))
                .await
                .unwrap();
        }
    }
}

#[tokio::test]
async fn inner_layer_sets_the_verdict() {
    let counting = |verifier| {
        let reports = Arc::new(Mutex::new(0));
        let sink = reports.clone();
        (ReportOnlyLayer::new(verifier, move |_, _| *sink.lock().unwrap() += 1), reports)
    };
    let other_audience = verifier().0.with_scheme(Scheme::new().with_audience("elsewhere").unwrap());
    let (rejecting, _) = counting(other_audience);
    let (verifying, _) = counting(verifier().0);
    let stack = rejecting.layer(verifying.layer(service_fn(record_body)));
    let request = stack.oneshot(incoming(signed(get("/")))).await.unwrap().into_body();
    assert!(request.extensions().get::<Caller>().is_some());
    assert!(request.extensions().get::<Rejection>().is_none());

    // The verdict of the outer layer is not reported by the inner layer, which bypasses the request.
    let (bypassing, reports) = counting(verifier().0.with_insecure_bypass(|_, _| true));
    let stack = verifier().0.into_layer().layer(bypassing.layer(service_fn(async |_: Request<ServiceBody>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    })));
    stack.oneshot(incoming(signed(get("/")))).await.unwrap();
    assert_eq!(*reports.lock().unwrap(), 0);
}

#[tokio::test]
async fn body_passes_two_layers_with_any_verdicts() {
    let layer = |audience: &str| {
        let verifier = verifier().0.with_scheme(Scheme::new().with_audience(audience).unwrap());
        ReportOnlyLayer::new(verifier, |_, _| {})
    };
    for (outer, inner) in [("", ""), ("", "elsewhere"), ("elsewhere", ""), ("elsewhere", "elsewhere")] {
        let stack = layer(outer).layer(layer(inner).layer(service_fn(record_body)));
        let received = stack.oneshot(incoming(signed(post("/", "text/plain", "text")))).await.unwrap().into_body();
        assert_eq!(received.body().data, "text", "{outer:?}, {inner:?}");
    }
}

#[tokio::test]
async fn service_is_called_only_when_ready() {
    let layer = ReportOnlyLayer::new(verifier().0, |_, _| {});
    let mut service = layer.layer(ConcurrencyLimit::new(service_fn(record_body), 1));
    let first = ServiceExt::<Request<UnverifiedBody>>::ready(&mut service).await.unwrap().call(incoming(get("/")));
    let mut another = service.oneshot(incoming(get("/")));
    assert!((&mut another).now_or_never().is_none(), "the first call holds the permit");
    first.await.unwrap();
    assert!(another.now_or_never().is_some());
}

#[tokio::test]
async fn failed_store_rejects_no_request() {
    let (verifier, _) = verifier_on(crate::replay::FailingStore);
    let outcome = send_through(&verifier, incoming(signed(post("/", "text/plain", "text")))).await;
    assert_eq!(outcome.reports, ["/ unavailable"]);
    assert_eq!((outcome.caller(), &*outcome.request.body().data), (None, "text"));
    let outcome = send_through(&verifier, incoming(get("/"))).await;
    assert!(outcome.request.body().is_empty, "an empty body stays empty");
}

#[tokio::test]
async fn streamed_body_is_reported_at_its_end() {
    let pass = async |frames: Frames| {
        let request = signed(post("/", "text/plain", "onetwo")).map(|_| body(frames));
        send_through(&small(10).with_streamed_bodies(), request).await
    };
    for (frames, expected, code) in [
        (vec![data("one"), data("two")], "onetwo", "demo"),
        (vec![data("one"), data("TWO")], "oneTWO", "body_mismatch"),
        (vec![data("one"), data("twothreefour"), data("five")], "onetwothreefourfive", "body_too_large"),
        (vec![data("one"), Err("reset")], "one", "malformed_field"),
    ] {
        let outcome = pass(frames).await;
        assert_eq!(outcome.reports, [format!("/ {code}")], "reported once");
        let received = outcome.request.body();
        assert_eq!((&*received.data, received.is_empty), (expected, false));
        assert_eq!(outcome.caller(), Some("demo"), "the head is verified before the body");
    }
}

/// A service may never poll a body that reports itself as ended.
#[tokio::test]
async fn empty_body_is_reported_before_the_service() {
    let mut request = signed(post("/", "text/plain", "onetwo"));
    *request.body_mut() = "";
    let outcome = send_through(&small(10).with_streamed_bodies(), incoming(request)).await;
    assert_eq!(outcome.reports, ["/ body_mismatch"]);
    assert_eq!((outcome.caller(), outcome.request.body().is_empty), (None, true));
}

#[tokio::test]
async fn verdict_is_reported_at_the_known_length() {
    let reports = Arc::new(Mutex::new(Vec::new()));
    let sink = reports.clone();
    let layer = ReportOnlyLayer::new(verifier().0.with_streamed_bodies(), move |_, verdict| {
        sink.lock().unwrap().push(verdict.is_ok());
    });
    let service = layer.layer(service_fn(async |mut request: Request<ServiceBody>| {
        assert_eq!(request.body().size_hint().exact(), Some(6));
        request.body_mut().frame().await.unwrap().unwrap();
        assert!(request.body().is_end_stream());
        Ok::<_, Infallible>(Response::new(()))
    }));
    service.oneshot(incoming(signed(post("/", "text/plain", "onetwo")))).await.unwrap();
    assert_eq!(*reports.lock().unwrap(), [true]);
}

/// Over HTTP/2 the end of stream can follow the last byte. A service that forwards the body over HTTP/1 does not poll
/// for it.
#[tokio::test]
async fn verdict_is_reported_at_content_length() {
    let reports = Arc::new(Mutex::new(Vec::new()));
    let sink = reports.clone();
    let layer = ReportOnlyLayer::new(verifier().0.with_streamed_bodies(), move |_, verdict| {
        sink.lock().unwrap().push(verdict.is_ok());
    });
    let service = layer.layer(service_fn(async |mut request: Request<ServiceBody>| {
        for _ in 0..2 {
            request.body_mut().frame().await.unwrap().unwrap();
        }
        Ok::<_, Infallible>(Response::new(()))
    }));
    for second in ["two", "TWO"] {
        let mut request = signed(post("/", "text/plain", "onetwo")).map(|_| body(vec![data("one"), data(second)]));
        request.headers_mut().insert("content-length", 6.into());
        service.clone().oneshot(request).await.unwrap();
    }
    assert_eq!(*reports.lock().unwrap(), [true, false]);
}

#[tokio::test]
async fn unread_streamed_body_is_not_reported_as_rejected() {
    let reports = Arc::new(Mutex::new(Vec::new()));
    let sink = reports.clone();
    let layer = ReportOnlyLayer::new(verifier().0.with_streamed_bodies(), move |_, verdict| {
        sink.lock().unwrap().push(verdict.is_ok());
    });
    let service = layer.layer(service_fn(async |_: Request<ServiceBody>| Ok::<_, Infallible>(Response::new(()))));
    service.oneshot(incoming(signed(post("/", "text/plain", "onetwo")))).await.unwrap();
    assert_eq!(*reports.lock().unwrap(), [true], "the verifying layer would accept it too");
}

#[tokio::test]
async fn bypassed_requests_are_not_reported() {
    let verifier = verifier().0.with_insecure_bypass(|_, uri| uri.path() == "/health");
    let outcome = send_through(&verifier, incoming(get("/health"))).await;
    assert!(outcome.reports.is_empty());
    let outcome = send_through(&verifier, incoming(get("/healthy"))).await;
    assert_eq!(outcome.reports, ["/healthy unsigned"]);
}

#[tokio::test]
async fn panicking_report_loses_no_request() {
    for verifier in [verifier().0, verifier().0.with_streamed_bodies()] {
        let layer = ReportOnlyLayer::new(verifier, |_, _| panic!("the service's report panicked"));
        let service = layer.layer(service_fn(record_body));
        for request in [signed(post("/", "text/plain", "onetwo")), post("/", "text/plain", "onetwo")] {
            let response = service.clone().oneshot(incoming(request)).await.unwrap();
            assert_eq!(response.into_body().into_body().data, "onetwo");
        }
    }
}

/// A body that is dropped during unwinding is reported at that moment. An uncaught second panic would abort the
/// process.
#[tokio::test]
async fn report_can_panic_during_unwinding() {
    let reports = Arc::new(Mutex::new(0));
    let counted = reports.clone();
    let layer = ReportOnlyLayer::new(verifier().0.with_streamed_bodies(), move |_, _| {
        *counted.lock().unwrap_or_else(std::sync::PoisonError::into_inner) += 1;
        panic!("the service's report panicked");
    });
    let service = layer.layer(service_fn(async |request: Request<ServiceBody>| -> Result<Response<()>, Infallible> {
        let _body = request.into_body();
        panic!("a service that fails");
    }));
    let request = incoming(signed(post("/", "text/plain", "onetwo")));
    std::panic::AssertUnwindSafe(service.oneshot(request)).catch_unwind().await.unwrap_err();
    assert_eq!(*reports.lock().unwrap_or_else(std::sync::PoisonError::into_inner), 1);
}
