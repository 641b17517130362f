//! Responses of the layer: what a caller can read, and what stays in the server's logs.

use bytes::Bytes;
use countersign::{Caller, Rejection, RejectionKind, Scheme, Secret, Signer, TokenLocation, VerifyLayer};
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt, service_fn};

use crate::rig::{self, NOW, get, incoming, post, signed, signed_by, signer, verifier};

/// The response of a service behind the layer. The service says hello to the caller.
async fn respond(request: Request<&'static str>) -> Response<Bytes> {
    let hello = service_fn(|request: Request<_>| async move {
        let caller = request.extensions().get::<Caller>().expect("the layer inserts the caller").clone();
        drop::<Request<countersign::server::ServiceBody>>(request);
        Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from(format!("hello {}", caller.app_id())))))
    });
    let response = verifier().0.into_layer().layer(hello).oneshot(incoming(request)).await.unwrap();
    let (parts, body) = response.into_parts();
    Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
}

#[test]
fn codes_and_statuses_match_the_table() {
    use RejectionKind::*;
    let table = [
        (Unsigned, "unsigned", 401),
        (MissingField, "missing_field", 400),
        (MalformedField, "malformed_field", 400),
        (MalformedParameters, "malformed_parameters", 400),
        (QueryTooLong, "query_too_long", 414),
        (StaleTimestamp, "stale_timestamp", 401),
        (InvalidSignature, "invalid_signature", 401),
        (InvalidToken, "invalid_token", 401),
        (MissingToken, "missing_token", 401),
        (TokenNotAllowed, "token_not_allowed", 403),
        (KeyNotAllowed, "key_not_allowed", 403),
        (TooManySessions, "too_many_sessions", 429),
        (SubmissionInProgress, "submission_in_progress", 409),
        (SubmissionOutcomeUnknown, "submission_outcome_unknown", 409),
        (DuplicateSubmission, "duplicate_submission", 409),
        (IdempotencyKeyReused, "idempotency_key_reused", 422),
        (ExpiredLink, "expired_link", 403),
        (MethodNotAllowed, "method_not_allowed", 405),
        (ReplayedNonce, "replayed_nonce", 401),
        (BodyTooLarge, "body_too_large", 413),
        (BodyTimeout, "body_timeout", 400),
        (BodyMismatch, "body_mismatch", 401),
        (Unavailable, "unavailable", 503),
        (Misconfigured, "misconfigured", 500),
    ];
    for (kind, code, status) in table {
        assert_eq!((kind.code(), kind.status().as_u16()), (code, status));
        assert_eq!(RejectionKind::from_code(code), Some(kind), "clients look the kind up by its code");
        assert_eq!(kind.to_string(), code);
    }
}

#[tokio::test]
async fn services_and_renderers_are_tested_without_a_verifier() {
    let hello = async |request: Request<countersign::server::ServiceBody>| {
        let caller = request.extensions().get::<Caller>().unwrap().clone();
        let token = caller.token().map(|token| token.expose().to_owned());
        (caller.app_id().to_string(), token, rig::bytes(request.into_body()).await)
    };
    let mut request = Request::new(countersign::server::ServiceBody::for_test("body"));
    let caller = Caller::for_test("demo".parse().unwrap()).with_test_token("tok_1".parse().unwrap());
    request.extensions_mut().insert(caller);
    assert_eq!(hello(request).await, ("demo".to_owned(), Some("tok_1".to_owned()), Bytes::from("body")));
    assert_eq!(Rejection::for_test(RejectionKind::ReplayedNonce).to_response().status(), 401);
}

#[tokio::test]
async fn rejection_is_a_problem_document() {
    let mut request = signed(get("/"));
    request.headers_mut().remove("x-nonce");
    let response = respond(request).await;
    assert_eq!(response.status(), 400);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert!(!response.headers().contains_key("www-authenticate"));
    let problem: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(response.headers()["x-error-code"], "missing_field");
    assert_eq!(problem["code"], "missing_field");
    assert_eq!(problem["status"], 400);
    assert_eq!(problem["title"], "Missing field");
    assert_eq!(problem["field"], "x-nonce");
    assert!(problem["detail"].as_str().unwrap().starts_with("x-nonce: "));
    assert_eq!(problem["type"], "urn:cs1:missing_field");

    let response = respond(signed_by(&signer(), NOW - 1000, get("/"))).await;
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers()["www-authenticate"], "CS1-HMAC-SHA256 error=\"stale_timestamp\"");
    assert_eq!(response.headers()["x-error-code"], "stale_timestamp");
    assert_eq!(response.headers()["x-server-time"], NOW.to_string());
}

#[tokio::test]
async fn unknown_app_and_wrong_key_get_identical_responses() {
    let unknown = Signer::new("nobody".parse().unwrap(), rig::secret());
    let wrong = Signer::new("demo".parse().unwrap(), Secret::new("wrong-key-wrong-key").unwrap());
    // The dummy key with which the verifier checks signatures of unknown apps.
    let dummy = Signer::new("nobody".parse().unwrap(), Secret::new(vec![0; 32]).unwrap());
    let mut answers = Vec::new();
    for signer in [unknown, wrong, dummy] {
        let (parts, body) = respond(signed_by(&signer, NOW, post("/", "text/plain", "x"))).await.into_parts();
        answers.push((parts.status, parts.headers, body));
    }
    assert_eq!(answers[0].0, 401);
    assert!(String::from_utf8_lossy(&answers[0].2).contains("invalid_signature"));
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
}

#[tokio::test]
async fn accepted_response_is_private_by_default() {
    let response = respond(signed(get("/"))).await;
    assert_eq!((response.status().as_u16(), response.body().as_ref()), (200, &b"hello demo"[..]));
    assert_eq!(response.headers()["cache-control"], "private");

    let public = service_fn(|_: Request<countersign::server::ServiceBody>| async {
        let response = Response::builder().header("cache-control", "public, max-age=60");
        Ok::<_, std::convert::Infallible>(response.body(Full::new(Bytes::new())).unwrap())
    });
    let response = verifier().0.into_layer().layer(public).oneshot(incoming(signed(get("/")))).await.unwrap();
    assert_eq!(response.headers()["cache-control"], "public, max-age=60");
}

#[tokio::test]
async fn responses_have_an_exact_size_hint() {
    let hello = service_fn(|_: Request<countersign::server::ServiceBody>| async {
        Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from("hello"))))
    });
    let service = verifier().0.into_layer().layer(hello);
    let response = service.clone().oneshot(incoming(signed(get("/")))).await.unwrap();
    assert_eq!((response.status().as_u16(), response.body().size_hint().exact()), (200, Some(5)));
    let response = service.oneshot(incoming(get("/"))).await.unwrap();
    let length = response.body().size_hint().exact();
    assert!(!response.body().is_end_stream());
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(length, Some(bytes.len() as u64));
}

#[tokio::test]
async fn custom_renderer_builds_the_rejection() {
    let teapot = |rejection: &Rejection| {
        let mut response = Response::new(Bytes::from(rejection.kind().code()));
        *response.status_mut() = http::StatusCode::IM_A_TEAPOT;
        response
    };
    let never = service_fn(|_: Request<countersign::server::ServiceBody>| async {
        Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::new())))
    });
    let layer = VerifyLayer::from(verifier().0).with_renderer(teapot);
    let response = layer.layer(never).oneshot(incoming(get("/"))).await.unwrap();
    assert_eq!(response.status(), 418);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "unsigned");
}

#[tokio::test]
async fn rendered_rejections_have_code_challenge_and_no_store() {
    let cacheable = |rejection: &Rejection| {
        let respond =
            Response::builder().status(rejection.kind().status()).header("cache-control", "public, max-age=60");
        respond.header("cache-control", "immutable").header("x-error-code", "mine").body(Bytes::new()).unwrap()
    };
    let never = service_fn(|_: Request<countersign::server::ServiceBody>| async {
        Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::new())))
    });
    let layer = VerifyLayer::from(verifier().0).with_renderer(cacheable);
    let mut incomplete = signed(get("/"));
    incomplete.headers_mut().remove("x-sign");
    for (request, code, challenge) in [
        (get("/"), "unsigned", Some("CS1-HMAC-SHA256 error=\"unsigned\"")),
        (incomplete, "missing_field", None),
        (
            signed_by(&signer(), NOW - 1000, get("/")),
            "stale_timestamp",
            Some("CS1-HMAC-SHA256 error=\"stale_timestamp\""),
        ),
    ] {
        let response = layer.layer(never).oneshot(incoming(request)).await.unwrap();
        let all = |name| Vec::from_iter(response.headers().get_all(name).iter().map(|value| value.to_str().unwrap()));
        assert_eq!(all("x-error-code"), [code]);
        assert_eq!(all("cache-control"), ["no-store"]);
        assert_eq!(all("www-authenticate"), Vec::from_iter(challenge));
    }
}

#[tokio::test]
async fn renderer_keeps_its_own_challenge() {
    let basic = |rejection: &Rejection| {
        let respond = Response::builder().status(rejection.kind().status());
        respond.header("www-authenticate", "Basic realm=\"ours\"").body(Bytes::new()).unwrap()
    };
    let never = service_fn(|_: Request<countersign::server::ServiceBody>| async {
        Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::new())))
    });
    let layer = VerifyLayer::from(verifier().0).with_renderer(basic);
    let response = layer.layer(never).oneshot(incoming(get("/"))).await.unwrap();
    assert_eq!(response.headers()["www-authenticate"], "Basic realm=\"ours\"");
}

#[tokio::test]
async fn debug_output_shows_no_sign_and_token() {
    let places = [TokenLocation::Field, TokenLocation::Bearer, TokenLocation::Cookie("sid".into())];
    for (place, header) in places.into_iter().zip(["x-token", "authorization", "cookie"]) {
        let scheme = Scheme::new().with_token_location(place).unwrap();
        let signer = signer().with_scheme(scheme.clone()).with_token("tok_secret".parse().unwrap());
        let mut request = signed_by(&signer, NOW, get("/"));
        let claim = countersign::protocol::Claim::extract(&scheme, request.uri(), request.headers()).unwrap();
        // Clients send headers that are not marked sensitive.
        request.headers_mut().values_mut().for_each(|value| value.set_sensitive(false));
        if header == "cookie" {
            request.headers_mut().append("cookie", "other=tok_secret".parse().unwrap());
        }
        let verified = rig::verify(&verifier().0.with_scheme(scheme), request).await.unwrap();
        assert!(verified.headers()["x-sign"].is_sensitive());
        let shown = format!("{:?} {claim:?} {:?}", verified.headers(), verified.extensions().get::<Caller>());
        assert!(!shown.contains("tok_secret") && !shown.contains("cookie:"), "{header}: {shown}");
    }
}
