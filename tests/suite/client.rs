//! The client: what is signed arrives byte for byte as it was signed.

use std::{collections::HashSet, net::SocketAddr};

use axum::Router;
use bytes::Bytes;
use countersign::{BodyDigest, Carrier, Payload, Scheme, SignLayer, Signer, TokenPlace, Verifier};
use http::{HeaderName, Request, Response, StatusCode};
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::rig::{self, NOW, get, hmac_hex, post, signed_by, signer, signer_of, verifier};

/// hyper-util's client, signing.
fn client(signer: Signer) -> countersign::client::Sign<Client<HttpConnector, Full<Bytes>>> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    ServiceBuilder::new().layer(SignLayer::new(signer)).service(client)
}

/// An axum service behind the verifier that answers the target and the body it saw.
async fn server(scheme: Scheme) -> SocketAddr {
    async fn echo(request: axum::extract::Request) -> String {
        let target = request.uri().to_string();
        format!("{target} {}", String::from_utf8_lossy(&rig::bytes(request.into_body()).await))
    }
    let layer = Verifier::new(rig::keys()).with_scheme(scheme).into_layer();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(echo).layer(layer)).await });
    address
}

const NASTY: [&str; 8] = [
    "/p;x/%2e%2e/a%20b/./c?q='a|b",
    "/a/../b//c?x=*~!+",
    "/%e4%F6?%C3%A9=1&a=%41",
    "/p?b=2&a=1&b=1",
    "/p?q=a?b/c&d=e=f",
    "/~u/(x)@y:$&,=",
    "/p?a=%00%0a",
    "/",
];

#[tokio::test]
async fn the_layer_signs_what_hyper_sends() {
    let address = server(Scheme::new()).await;
    for target in NASTY {
        for body in ["", "{\"a\":1}"] {
            let request = Request::post(format!("http://{address}{target}"))
                .header("content-type", "Application/JSON; charset=utf-8")
                .body(Full::new(Bytes::from(body)))
                .unwrap();
            let response = client(signer()).oneshot(request).await.unwrap();
            let status = response.status();
            let seen = rig::bytes(response.into_body()).await;
            assert_eq!(status, StatusCode::OK, "{target}: {seen:?}");
            assert_eq!(seen, format!("{target} {body}"));
        }
    }
}

#[tokio::test]
async fn the_bytes_on_the_wire_are_those_that_were_signed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    for target in NASTY {
        let request = Request::get(format!("http://{address}{target}")).body(Full::new(Bytes::new())).unwrap();
        let sending = tokio::spawn(client(signer()).oneshot(request));
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        assert_eq!(sending.await.unwrap().unwrap().status(), 204);

        let head = String::from_utf8(head).unwrap();
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).unwrap();
        let sent = head.lines().next().unwrap().strip_prefix("GET ").unwrap().strip_suffix(" HTTP/1.1").unwrap();
        assert_eq!(sent, target);
        let (path, query) = sent.split_once('?').unwrap_or((sent, ""));
        let sorted = rig::canonical_parameters(query);
        let (timestamp, nonce) = (field("x-timestamp"), field("x-nonce"));
        let string = format!("CS1-REQUEST\nGET\n\n{path}\n{sorted}\n\n\n\ndemo\n\n{}\n{timestamp}\n{nonce}", rig::KEY);
        assert_eq!(field("x-sign"), hmac_hex(rig::KEY, &string), "{target}");
    }
}

#[tokio::test]
async fn a_form_over_the_wire() {
    let address = server(Scheme::new()).await;
    let form = |body: &'static str| {
        Request::post(format!("http://{address}/pay?x=1"))
            .header("content-type", "application/x-www-form-urlencoded; charset=UTF-8")
            .body(Full::new(Bytes::from(body)))
            .unwrap()
    };
    for body in ["to=bob+smith&amount=%31&memo=", "", "&&"] {
        let response = client(signer()).oneshot(form(body)).await.unwrap();
        assert_eq!(rig::bytes(response.into_body()).await, format!("/pay?x=1 {body}"));
    }
}

#[tokio::test]
async fn every_carrier_and_place_over_the_wire() {
    let host = || [HeaderName::from_static("host"), HeaderName::from_static("idempotency-key")];
    let schemes = [
        Scheme::new().with_carrier(Carrier::Query),
        Scheme::new().with_carrier(Carrier::Either),
        Scheme::new().with_signed_headers(host()).unwrap(),
        Scheme::new().with_audience("orders.example.com").unwrap(),
        Scheme::new().with_token_place(TokenPlace::Bearer).unwrap(),
        Scheme::new().with_token_place(TokenPlace::Cookie("sid".into())).unwrap(),
        Scheme::new().with_token_place(TokenPlace::Bearer).unwrap().with_carrier(Carrier::Query),
    ];
    for scheme in schemes {
        let address = server(scheme.clone()).await;
        let signer = signer_of(scheme.clone()).with_token("tok_+/=".parse().unwrap());
        let request = Request::post(format!("http://{address}/p?b=2&a=1"))
            .header("cookie", "theme=dark; other=1")
            .body(Full::new(Bytes::from("body")))
            .unwrap();
        let response = client(signer).oneshot(request).await.unwrap();
        assert_eq!(rig::bytes(response.into_body()).await, "/p?b=2&a=1 body", "{scheme:?}");
    }
}

#[tokio::test]
async fn signing_again_replaces_the_fields() {
    for carrier in [Carrier::Headers, Carrier::Query] {
        let scheme = Scheme::new().with_carrier(carrier);
        let signer = signer_of(scheme.clone()).with_token("new".parse().unwrap());
        let old = signer_of(scheme.clone()).with_token("old".parse().unwrap());
        let once = signed_by(&old, NOW - 1000, post("/p?a=1&b=", "text/plain", "x"));
        let mut again = signed_by(&signer, NOW, once);
        let verified = rig::verify(&verifier().0.with_scheme(scheme.clone()), again.clone()).await.unwrap();
        assert_eq!(verified.extensions().get::<countersign::Caller>().unwrap().token().unwrap().expose(), "new");
        // Without a body the digest of the old one goes.
        *again.body_mut() = "";
        let again = signed_by(&signer, NOW, again);
        assert!(!again.headers().contains_key("x-content-sha256"));
        assert_eq!(rig::code(&verifier().0.with_scheme(scheme), again).await, "accepted");
    }
}

#[tokio::test]
async fn signing_for_the_query_takes_the_fields_out_of_the_headers() {
    let query = Scheme::new().with_carrier(Carrier::Query);
    let by_headers = signed_by(&signer().with_token("old".parse().unwrap()), NOW, get("/p?a=1"));
    let by_query = signed_by(&signer_of(query.clone()), NOW, by_headers);
    assert!(by_query.headers().is_empty(), "{:?}", by_query.headers());
    assert_eq!(rig::code(&verifier().0.with_scheme(query), by_query).await, "accepted");
}

#[tokio::test]
async fn a_request_may_bring_its_own_token() {
    let places = [TokenPlace::Field, TokenPlace::Bearer, TokenPlace::Cookie("sid".into())];
    let headers = [("x-token", "tok_1"), ("authorization", "Bearer tok_1"), ("cookie", "a=1; sid=tok_1")];
    for (place, (name, value)) in places.into_iter().zip(headers) {
        let scheme = Scheme::new().with_token_place(place).unwrap();
        let mut request = get("/");
        request.headers_mut().insert(name, value.parse().unwrap());
        let request = signed_by(&signer_of(scheme.clone()), NOW, request);
        let verified = rig::verify(&verifier().0.with_scheme(scheme), request).await.unwrap();
        assert_eq!(verified.extensions().get::<countersign::Caller>().unwrap().token().unwrap().expose(), "tok_1");
    }
}

#[tokio::test]
async fn a_file_is_signed_by_its_digest() {
    let (mut parts, ()) = Request::put("/files/1").body(()).unwrap().into_parts();
    let payload = Payload::Digest(BodyDigest::of(b"a large file"));
    signer().sign_at(&mut parts, payload, NOW.try_into().unwrap(), rig::fresh_nonce()).unwrap();
    assert_eq!(rig::code(&verifier().0, Request::from_parts(parts.clone(), "another file")).await, "body_mismatch");
    assert_eq!(rig::code(&verifier().0, Request::from_parts(parts, "a large file")).await, "accepted");
}

#[test]
fn each_signature_has_a_nonce_of_its_own() {
    let nonces: HashSet<_> = (0..10_000)
        .map(|_| {
            let nonce = signer().sign(get("/")).unwrap().headers()["x-nonce"].to_str().unwrap().to_owned();
            assert!(nonce.len() == 32 && nonce.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{nonce}");
            nonce
        })
        .collect();
    assert_eq!(nonces.len(), 10_000);
}

#[tokio::test]
async fn a_body_that_cannot_be_signed_is_not_sent() {
    let limits = countersign::Limits::new().with_body(10);
    let signer = signer_of(Scheme::new().with_limits(limits));
    let never =
        service_fn(|_: Request<Full<Bytes>>| async { Ok::<_, std::convert::Infallible>(Response::new("sent")) });
    let client = ServiceBuilder::new().layer(SignLayer::new(signer)).service(never);
    let send = |body: &'static str| client.clone().oneshot(Request::new(Full::new(Bytes::from(body))));
    assert_eq!(*send("ten bytes!").await.unwrap().body(), "sent");
    let error = send("eleven byte").await.unwrap_err();
    assert!(error.is::<countersign::SignError>());
    assert!(error.to_string().contains("10 bytes"), "{error}");
}

#[test]
fn a_host_that_could_be_sent_in_two_ways_is_not_signed() {
    let scheme = Scheme::new().with_signed_headers([HeaderName::from_static("host")]).unwrap();
    for (uri, is_signed) in [
        ("http://example.com/", true),
        ("http://example.com:8080/", true),
        ("http://example.com:443/", true),
        ("http://example.com:80/", false),
        ("https://example.com:443/", false),
        ("http://user@example.com/", false),
    ] {
        let result = signer_of(scheme.clone()).sign(get(uri));
        assert_eq!(result.is_ok(), is_signed, "{uri}");
        assert!(signer().sign(get(uri)).is_ok(), "{uri}: where the host is not signed it does not matter");
    }
}

#[tokio::test]
async fn a_host_header_of_the_callers_own_is_what_is_signed() {
    let scheme = Scheme::new().with_signed_headers([HeaderName::from_static("host")]).unwrap();
    let address = server(scheme.clone()).await;
    let request = Request::get(format!("http://{address}/p?a=1"))
        .header("host", "orders.example.com")
        .body(Full::new(Bytes::new()))
        .unwrap();
    let response = client(signer_of(scheme)).oneshot(request).await.unwrap();
    assert_eq!(rig::bytes(response.into_body()).await, "/p?a=1 ");
}

#[test]
fn a_parameter_named_like_a_field_is_not_dropped_in_silence() {
    let either = signer_of(Scheme::new().with_carrier(Carrier::Either));
    let error = either.sign(get("/?token=abc&x=1")).unwrap_err();
    assert!(error.to_string().contains("token: "), "{error}");
}

#[tokio::test]
async fn secrets_travel_in_sensitive_headers() {
    let scheme = Scheme::new().with_token_place(TokenPlace::Bearer).unwrap();
    let bearer = signer_of(scheme).with_token("tok".parse().unwrap()).sign(get("/")).unwrap();
    let field = signer().with_token("tok".parse().unwrap()).sign(get("/")).unwrap();
    for value in [&bearer.headers()["authorization"], &bearer.headers()["x-sign"], &field.headers()["x-token"]] {
        assert!(value.is_sensitive());
    }
}
