//! Refusals, as a client reads them.

use std::{convert::Infallible, time::Duration};

use axum::{Router, body::Body, response::IntoResponse};
use bytes::Bytes;
use countersign::{
    Refusal, RejectionKind, Scheme, Secret, SignLayer, Signer, Verifier,
    client::{Cause, SignedBody},
};
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, ServiceExt, service_fn};

use super::{client, echo, plain_client, serve};
use crate::rig::{self, signer, signer_of};

type Rewrite = fn(&Uri) -> String;

/// A service that explains, behind something that rewrites the URL of each request.
async fn explaining(rewrite: Rewrite) -> std::net::SocketAddr {
    let verifier = Verifier::new(rig::keys()).with_explanations();
    let app = Router::new().fallback(echo).layer(verifier.into_layer());
    let app = tower::util::MapRequest::new(app, move |mut request: Request<Body>| {
        *request.uri_mut() = rewrite(request.uri()).parse().unwrap();
        // A proxy in front leaves no trace of the original URI.
        request.extensions_mut().remove::<axum::extract::OriginalUri>();
        request
    });
    serve(Router::new().fallback_service(app)).await
}

fn unchanged(uri: &Uri) -> String {
    uri.to_string()
}

#[tokio::test]
async fn sign_layer_names_the_cause_of_an_invalid_signature() {
    let audience = || signer_of(Scheme::new().with_audience("other").unwrap());
    let wrong_key = || Signer::new("demo".parse().unwrap(), Secret::new("w".repeat(32)).unwrap());
    let cases: [(Rewrite, Signer, Cause); 5] = [
        (|uri| uri.to_string().replace("/api", ""), signer(), Cause::PrefixRemoved),
        (|uri| uri.to_string().replace("%20", "%2B"), signer(), Cause::PlusAndSpace),
        (|uri| format!("{uri}&added=1"), signer(), Cause::ParameterAdded),
        (unchanged, audience(), Cause::Audience),
        (unchanged, wrong_key(), Cause::Key),
    ];
    for (rewrite, signer, cause) in cases {
        let address = explaining(rewrite).await;
        let url = format!("http://{address}/api/orders?q=a%20b");
        let request = Request::get(&url).body(Full::<Bytes>::default()).unwrap();
        let response = client(signer.clone()).oneshot(request).await.unwrap();
        let refusal = response.extensions().get::<Refusal>().unwrap().clone();
        assert_eq!(refusal.kind(), Some(RejectionKind::InvalidSignature));
        assert_eq!(refusal.comparison().and_then(|comparison| comparison.cause()), Some(cause), "{refusal}");
        assert!(refusal.to_string().starts_with("invalid_signature: "), "{refusal}");
        assert!(refusal.to_string().ends_with(cause.advice()), "{refusal}");
        // The body is still there.
        let body = rig::bytes(response.into_body()).await;
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["string_to_sign"], refusal.string_to_sign().unwrap().as_str());

        let reqwest =
            reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let request = reqwest.get(&url).build().unwrap();
        let response = SignLayer::new(signer).layer(reqwest).oneshot(request).await.unwrap();
        assert_eq!(response.url().as_str(), url);
        assert_eq!(response.extensions().get::<Refusal>().unwrap().comparison(), refusal.comparison());
        let problem: serde_json::Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert_eq!(problem["code"], "invalid_signature");
    }
}

#[tokio::test]
async fn forms_are_compared_too() {
    let address = explaining(unchanged).await;
    let wrong = Signer::new("demo".parse().unwrap(), Secret::new("w".repeat(32)).unwrap());
    let request = Request::post(format!("http://{address}/p"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from("b=2&a=1")))
        .unwrap();
    let response = client(wrong).oneshot(request).await.unwrap();
    let comparison = response.extensions().get::<Refusal>().unwrap().comparison().cloned();
    assert_eq!(comparison.unwrap().cause(), Some(Cause::Key), "the form is the same on both ends");
}

#[tokio::test]
async fn the_refusal_of_a_head_request_is_read_from_its_headers() {
    let address = explaining(unchanged).await;
    let wrong = Signer::new("demo".parse().unwrap(), Secret::new("w".repeat(32)).unwrap());
    let request = Request::head(format!("http://{address}/p")).body(Full::<Bytes>::default()).unwrap();
    let response = client(wrong).oneshot(request).await.unwrap();
    let refusal = response.extensions().get::<Refusal>().unwrap();
    assert_eq!((refusal.kind(), refusal.comparison()), (Some(RejectionKind::InvalidSignature), None));
    assert_eq!(refusal.to_string(), "invalid_signature: Invalid signature");
}

#[test]
fn every_kind_of_rejection_has_a_typed_refusal() {
    for kind in [
        RejectionKind::Unsigned,
        RejectionKind::MissingField,
        RejectionKind::MalformedField,
        RejectionKind::MalformedParameters,
        RejectionKind::QueryTooLong,
        RejectionKind::StaleTimestamp,
        RejectionKind::InvalidSignature,
        RejectionKind::InvalidToken,
        RejectionKind::TokenNotAllowed,
        RejectionKind::ReplayedNonce,
        RejectionKind::BodyTooLarge,
        RejectionKind::BodyTimeout,
        RejectionKind::BodyMismatch,
        RejectionKind::Unavailable,
        RejectionKind::Misconfigured,
    ] {
        let (parts, body) = countersign::Rejection::for_test(kind).to_response().into_parts();
        let whole = Refusal::from_response(parts.status, &parts.headers, &body).unwrap();
        let head = Refusal::from_response(parts.status, &parts.headers, b"").unwrap();
        assert_eq!((whole.kind(), head.kind()), (Some(kind), Some(kind)));
        assert_eq!((whole.code(), whole.status()), (kind.code(), kind.status()));
        assert_eq!((whole.detail(), head.detail()), (Some("for a test"), None));
        let retry = (kind == RejectionKind::Unavailable).then_some(Duration::from_secs(1));
        assert_eq!(head.retry_after(), retry);
    }
}

#[tokio::test]
async fn the_field_of_a_refusal_is_read() {
    let mut request = rig::signed(rig::get("/"));
    request.headers_mut().remove("x-nonce");
    let rejection = rig::verify(&rig::verifier().0, request).await.unwrap_err();
    let (parts, body) = rejection.to_response().into_parts();
    let refusal = Refusal::from_response(parts.status, &parts.headers, &body).unwrap();
    assert_eq!(refusal.field(), Some("x-nonce"));
    assert!(refusal.to_string().starts_with("missing_field: x-nonce: "), "{refusal}");
}

#[test]
fn other_responses_are_no_refusals() {
    let headers = |code: &'static [u8]| {
        HeaderMap::from_iter([(http::HeaderName::from_static("x-error-code"), HeaderValue::from_bytes(code).unwrap())])
    };
    let read = |headers: &HeaderMap| Refusal::from_response(StatusCode::UNAUTHORIZED, headers, b"");
    assert!(read(&HeaderMap::new()).is_none());
    for code in [&b""[..], b"Not A Code", b"caf\xC3\xA9", &[b'a'; 65]] {
        assert!(read(&headers(code)).is_none(), "{code:?}");
    }
    let unknown = read(&headers(b"of_a_later_version")).unwrap();
    assert_eq!((unknown.kind(), unknown.code()), (None, "of_a_later_version"));
    assert_eq!(unknown.to_string(), "of_a_later_version: the service answered with 401 Unauthorized");
}

/// A client of a server that answers this.
fn hostile(
    body: impl Fn() -> Body + Clone + Send + 'static,
) -> impl Service<
    Request<Full<Bytes>>,
    Response = Response<impl http_body::Body<Data = Bytes, Error = axum::Error>>,
    Error = countersign::SendError,
> + Clone {
    let service = service_fn(move |_: Request<SignedBody>| {
        let headers = [("x-error-code", "invalid_signature"), ("content-type", "application/problem+json")];
        let response = (StatusCode::UNAUTHORIZED, headers, body()).into_response();
        async { Ok::<_, Infallible>(response) }
    });
    SignLayer::new(signer()).layer(service)
}

async fn ask<S, B>(client: S) -> Response<B>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error: std::fmt::Debug>,
{
    client.oneshot(Request::get("http://a/p").body(Full::default()).unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_hostile_explanation_is_bounded_and_escaped() {
    let json = |detail: &str, text: &str| {
        serde_json::json!({"code": "invalid_signature", "detail": detail, "field": "\u{1b}[2J", "string_to_sign": text})
            .to_string()
    };
    let long = "x".repeat(20_000);
    for text in [
        "\u{1b}[31mred\u{7}\u{202e}",
        "",
        "\n\n\n",
        "CS1-REQUEST\nDELETE\n\n/other\n\n\n\n\nadmin\n\n{key}\n1\nn",
        &long,
    ] {
        let body = json(&format!("{}{text}", "\u{1b}]0;title\u{7}"), text);
        let expected = body.clone();
        let response = ask(hostile(move || Body::from(body.clone()))).await;
        let refusal = response.extensions().get::<Refusal>().unwrap().clone();
        for shown in [
            refusal.to_string(),
            format!("{refusal:?}"),
            refusal.detail().unwrap().to_owned(),
            refusal.field().unwrap().to_owned(),
        ] {
            assert!(shown.len() < 25_000 && shown.chars().all(|c| matches!(c, ' '..='~' | '…')), "{shown:?}");
        }
        assert!(refusal.comparison().is_some());
        assert_eq!(rig::bytes(response.into_body()).await, expected);
    }
}

#[tokio::test]
async fn a_huge_malformed_or_broken_body_does_no_harm() {
    // Ten megabytes in small pieces: only the start is read, and the whole body still arrives.
    let pieces =
        || Body::from_stream(stream::iter((0..10_000).map(|_| Ok::<_, Infallible>(Bytes::from(vec![b'{'; 1024])))));
    let response = ask(hostile(pieces)).await;
    assert_eq!(response.extensions().get::<Refusal>().unwrap().kind(), Some(RejectionKind::InvalidSignature));
    assert_eq!(rig::bytes(response.into_body()).await.len(), 10_240_000);

    let not_text = || Body::from(&b"{\"code\":\"invalid_signature\",\"string_to_sign\":\"\xff\xfe\"}"[..]);
    let response = ask(hostile(not_text)).await;
    assert_eq!(response.extensions().get::<Refusal>().unwrap().string_to_sign(), None);

    let broken = || Body::from_stream(stream::iter([Ok(Bytes::from("{")), Err("it broke off")]));
    let response = ask(hostile(broken)).await;
    assert!(response.extensions().get::<Refusal>().is_some());
    let mut body = response.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "{");
    assert!(body.frame().await.unwrap().is_err());
    assert!(body.frame().await.is_none());
}

/// What a subscriber wrote.
#[derive(Clone, Default)]
struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A server chooses which line differs, so the event must not have the values of the line.
#[tokio::test]
async fn the_event_of_a_refusal_has_no_values() {
    let (log, address) = (Log::default(), explaining(unchanged).await);
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let request = Request::post(format!("http://{address}/p?visible=1"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from("password=hunter2")))
        .unwrap();
    let audience = signer_of(Scheme::new().with_audience("other").unwrap());
    client(audience).oneshot(request).await.unwrap();
    let hostile_body =
        r#"{"code":"invalid_signature","string_to_sign":"CS1-REQUEST\nPOST\n\n/p\n\nx=1\n\n\na\n\nk\n1\nn"}"#;
    ask(hostile(move || Body::from(hostile_body))).await;
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("line=\"audience\" cause=\"audience\""), "{text}");
    assert!(!text.contains("hunter2") && !text.contains("visible") && !text.contains("x=1"), "{text}");
}

/// A response that never ends, of a service that has a header of this name too.
#[tokio::test]
async fn only_problems_are_read_before_the_response_is_returned() {
    let service = service_fn(|_: Request<SignedBody>| async {
        let headers = [("x-error-code", "none"), ("content-type", "text/event-stream")];
        let body = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        Ok::<_, Infallible>((StatusCode::OK, headers, body).into_response())
    });
    let client = SignLayer::new(signer()).layer(service);
    let response = tokio::time::timeout(Duration::from_secs(10), ask(client)).await.unwrap();
    assert_eq!(response.extensions().get::<Refusal>().unwrap().kind(), None);
}

/// The body of this layer is not `Unpin`.
#[tokio::test]
async fn layers_below_may_have_any_body() {
    let service = service_fn(|_: Request<SignedBody>| async { Ok::<_, Infallible>(Response::new(Body::from("ok"))) });
    let below = tower_http::timeout::ResponseBodyTimeoutLayer::new(Duration::from_secs(10)).layer(service);
    let response = ask(SignLayer::new(signer()).layer(below)).await;
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
}

#[tokio::test]
async fn the_body_of_another_code_than_the_header_is_ignored() {
    let other = || Body::from(r#"{"code":"replayed_nonce","detail":"d"}"#);
    let response = ask(hostile(other)).await;
    let refusal = response.extensions().get::<Refusal>().unwrap();
    assert_eq!((refusal.code(), refusal.detail()), ("invalid_signature", None));
}

/// A policy of `tower::retry` that repeats what could not be checked, by the refusal alone.
#[derive(Clone)]
struct WhileUnavailable(u32);

impl<B> tower::retry::Policy<Request<Full<Bytes>>, Response<B>, countersign::SendError> for WhileUnavailable {
    type Future = std::future::Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<Full<Bytes>>,
        result: &mut Result<Response<B>, countersign::SendError>,
    ) -> Option<Self::Future> {
        let refusal = result.as_ref().ok()?.extensions().get::<Refusal>()?;
        let is_unavailable = refusal.kind() == Some(RejectionKind::Unavailable);
        self.0 = self.0.checked_sub(1)?;
        is_unavailable.then(|| std::future::ready(()))
    }

    fn clone_request(&mut self, request: &Request<Full<Bytes>>) -> Option<Request<Full<Bytes>>> {
        Some(request.clone())
    }
}

#[tokio::test]
async fn a_retry_policy_reads_the_refusal() {
    let calls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = calls.clone();
    let service = service_fn(move |_: Request<SignedBody>| {
        let is_available = counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 2;
        let mut response = Response::new(Full::new(Bytes::new()));
        if !is_available {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response.headers_mut().insert("x-error-code", HeaderValue::from_static("unavailable"));
        }
        async { Ok::<_, Infallible>(response) }
    });
    let client = tower::retry::RetryLayer::new(WhileUnavailable(5)).layer(SignLayer::new(signer()).layer(service));
    assert_eq!(ask(client).await.status(), StatusCode::OK);
    assert_eq!(calls.load(std::sync::atomic::Ordering::SeqCst), 3);
}

#[tokio::test]
async fn the_error_of_the_client_below_keeps_its_type() {
    let request = Request::get("http://127.0.0.1:1/").body(Full::<Bytes>::default()).unwrap();
    let error = SignLayer::new(signer()).layer(plain_client()).oneshot(request).await.unwrap_err();
    assert!(error.client_error::<hyper_util::client::legacy::Error>().is_some_and(|error| error.is_connect()));
    assert!(error.sign_error().is_none());
}
