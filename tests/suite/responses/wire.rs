//! Signed responses over sockets: HTTP/1.1, HTTP/2, nginx, reqwest, and a client in Python that knows PROTOCOL.md alone.

use std::{net::SocketAddr, process::Command};

use axum::{
    Router,
    response::Redirect,
    routing::{any, get},
};
use bytes::Bytes;
use countersign::{Scheme, SignLayer, Verifier};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tower::{Layer, ServiceExt};

use super::signing;
use crate::{
    proxies::block,
    proxy::Proxy,
    rig::{self, signer_of},
};

fn scheme() -> Scheme {
    Scheme::new().with_signed_response_headers([header::LOCATION]).unwrap()
}

/// A service with the system's clock that signs its responses.
async fn serve() -> SocketAddr {
    let text = || async { "text ".repeat(500) };
    let service = Router::new()
        .route("/text", get(text))
        .route("/gzip", get(text))
        .route("/echo", any(|body: Bytes| async { body }))
        .route("/moved", get(|| async { Redirect::to("/text") }))
        .route("/none", get(|| async { StatusCode::NO_CONTENT }))
        .route("/large", get(|| async { vec![b'x'; 1024 * 1024] }));
    let service = signing(Verifier::new(rig::keys()).with_scheme(scheme()), service);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, service).await });
    address
}

async fn python(server: SocketAddr, arguments: &[&str]) -> String {
    let client = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/responses/signed_client.py");
    let mut command = Command::new("python3");
    command.arg(client).arg(format!("http://{server}")).args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn python_client_checks_responses() {
    let server = serve().await;
    for (arguments, expected) in [
        (&["GET", "/text"][..], "signed 200"),
        (&["HEAD", "/text"], "signed 200"),
        (&["POST", "/echo", "hello"], "signed 200"),
        (&["GET", "/moved"], "signed 303"),
        (&["GET", "/none"], "signed 204"),
        (&["GET", "/large"], "signed 200"),
        (&["GET", "/nowhere"], "signed 404"),
    ] {
        assert_eq!(python(server, arguments).await, expected, "{arguments:?}");
    }
}

/// nginx does not heed `no-transform`: it compresses a response for a client that accepts that.
#[tokio::test(flavor = "multi_thread")]
async fn nginx_must_not_compress() {
    let server = serve().await;
    let configuration = block("nginx\n", 0, server);
    let gzip = "gzip on; gzip_min_length 1; gzip_proxied any; gzip_types text/plain;\n";
    let (off, on) =
        (Proxy::nginx(&format!("gzip off;\n{configuration}")), Proxy::nginx(&format!("{gzip}{configuration}")));
    for path in ["/text", "/gzip", "/large", "/moved", "/none"] {
        let outcome = python(off.address, &["GET", path]).await;
        assert!(outcome.starts_with("signed "), "{path}: {outcome}");
    }
    assert_eq!(python(off.address, &["HEAD", "/text"]).await, "signed 200");
    assert_eq!(python(on.address, &["GET", "/text"]).await, "signed 200", "the client accepts no encoding");
    assert_eq!(python(on.address, &["GET", "/gzip"]).await, "unknown body");
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_carries_signed_responses() {
    let stream = tokio::net::TcpStream::connect(serve().await).await.unwrap();
    let (client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let client = tower::service_fn(move |request: Request<countersign::client::SignedBody>| {
        let mut client = client.clone();
        async move { client.send_request(request).await }
    });
    let client = SignLayer::new(signer_of(scheme())).require_signed_responses().layer(client);
    for (method, path, body) in [
        ("GET", "/text", ""),
        ("HEAD", "/text", ""),
        ("POST", "/echo", "hello"),
        ("GET", "/none", ""),
        ("GET", "/moved", ""),
    ] {
        let request = Request::builder().method(method).uri(format!("http://api.example{path}"));
        let request = request.body(Full::<Bytes>::from(body)).unwrap();
        let response = client.clone().oneshot(request).await.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        assert_eq!(response.version(), http::Version::HTTP_2);
        if path == "/echo" {
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reqwest_client_checks_responses() {
    let server = serve().await;
    let reqwest = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let client = SignLayer::new(signer_of(scheme())).require_signed_responses().layer(reqwest.clone());
    let response = client.clone().oneshot(reqwest.get(format!("http://{server}/text")).build().unwrap()).await.unwrap();
    assert_eq!(response.url().path(), "/text");
    assert_eq!(response.text().await.unwrap(), "text ".repeat(500));
    let head = reqwest.head(format!("http://{server}/text")).build().unwrap();
    assert_eq!(client.clone().oneshot(head).await.unwrap().status(), 200);
    let moved = reqwest.get(format!("http://{server}/moved")).build().unwrap();
    assert_eq!(client.clone().oneshot(moved).await.unwrap().headers()["location"], "/text");
    // Without the configured header, the string to sign differs.
    let other = SignLayer::new(rig::signer()).require_signed_responses().layer(reqwest.clone());
    let request = reqwest.get(format!("http://{server}/text")).build().unwrap();
    let error = other.oneshot(request).await.unwrap_err();
    assert_eq!(error.response_error().unwrap().kind(), countersign::ResponseErrorKind::InvalidSignature);
}
