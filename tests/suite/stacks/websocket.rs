//! WebSockets behind the layer, over HTTP/1.1 and HTTP/2, and through a proxy that translates between them.

use std::net::SocketAddr;

use axum::{
    Router,
    extract::ws::{Message, WebSocketUpgrade},
    response::Response,
    routing::any,
};
use bytes::Bytes;
use countersign::{Caller, FieldLocation, Scheme, Signer, Verifier, VerifyLayer};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, Method, Request, Uri, Version};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, client::IntoClientRequest, protocol::Role},
};

use crate::{
    proxies::block,
    proxy::Proxy,
    rig::{self, get, signed_by, signer, verifier},
};

async fn echo(caller: Caller, method: Method, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async move |mut socket| {
        while let Some(Ok(message)) = socket.recv().await {
            if let Message::Text(text) = message {
                let answer = format!("{method} of {}: {text}", caller.app_id());
                let _ = socket.send(Message::text(answer)).await;
            }
        }
    })
}

/// Serves the route at the root, and nested with another outer path.
async fn serve(scheme: Scheme) -> SocketAddr {
    let verifier = Verifier::new(rig::keys()).with_scheme(scheme);
    let inner = Router::new().route("/ws", any(echo)).layer(VerifyLayer::from(verifier));
    let app = Router::new().nest("/api", inner.clone()).merge(inner);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
    address
}

/// A signed HTTP/1.1 handshake.
fn handshake(signer: &Signer, target: &str) -> Request<()> {
    let request = format!("ws://localhost{target}").into_client_request().unwrap();
    let (mut parts, ()) = request.into_parts();
    parts.uri = target.parse().unwrap();
    signer.sign_parts(&mut parts, countersign::Payload::Bytes(b"")).unwrap();
    // tungstenite needs a full URL, of which it sends only the target.
    parts.uri = format!("ws://localhost{}", parts.uri).parse().unwrap();
    Request::from_parts(parts, ())
}

fn extended_connect(target: &str) -> Request<Empty<Bytes>> {
    let mut request = Request::connect(format!("http://localhost{target}")).version(Version::HTTP_2);
    request = request.header("sec-websocket-version", "13");
    request.extension(hyper::ext::Protocol::from_static("websocket")).body(Empty::new()).unwrap()
}

async fn http2(address: SocketAddr) -> hyper::client::conn::http2::SendRequest<Empty<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    // The response arrives after the server's settings frame, which announces extended CONNECT.
    let hello = Request::get("http://localhost/hello").body(Empty::new()).unwrap();
    assert_eq!(sender.send_request(hello).await.unwrap().status(), 401);
    sender
}

async fn echo_once<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<S>) -> String {
    socket.send(tungstenite::Message::text("hello")).await.unwrap();
    socket.next().await.unwrap().unwrap().into_text().unwrap().to_string()
}

fn rejection(error: tungstenite::Error) -> (u16, String) {
    let tungstenite::Error::Http(response) = error else { panic!("{error}") };
    let code = response.headers()["x-error-code"].to_str().unwrap().to_owned();
    (response.status().as_u16(), code)
}

#[tokio::test]
async fn websocket_over_http_1_is_signed_as_get() {
    for carrier in [FieldLocation::Headers, FieldLocation::Query] {
        let scheme = Scheme::new().with_field_location(carrier);
        let address = serve(scheme.clone()).await;
        let connect = async |request: Request<()>| {
            client_async(request, TcpStream::connect(address).await.unwrap()).await.map(|(socket, _)| socket)
        };
        let signer = signer().with_scheme(scheme);
        for target in ["/ws?room=1", "/api/ws"] {
            assert_eq!(echo_once(connect(handshake(&signer, target)).await.unwrap()).await, "GET of demo: hello");
        }
        let replayed = handshake(&signer, "/ws");
        connect(replayed.clone()).await.unwrap();
        assert_eq!(rejection(connect(replayed).await.unwrap_err()), (401, "replayed_nonce".to_owned()));
        let unsigned = "ws://localhost/ws".into_client_request().unwrap();
        assert_eq!(rejection(connect(unsigned).await.unwrap_err()), (401, "unsigned".to_owned()));
    }
}

#[tokio::test]
async fn websocket_over_http_2_is_signed_as_get() {
    let mut sender = http2(serve(Scheme::new()).await).await;
    for target in ["/ws?room=1", "/api/ws"] {
        // Signed as an extended CONNECT, and as the equivalent GET of HTTP/1.1.
        let signed = signer().sign(extended_connect(target).map(|_| "")).unwrap();
        let mut as_get = signer().sign(get(target)).unwrap();
        as_get.headers_mut().insert("sec-websocket-version", HeaderValue::from_static("13"));
        for head in [signed.headers(), as_get.headers()] {
            let mut request = extended_connect(target);
            *request.headers_mut() = head.clone();
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.status(), 200);
            let upgraded = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
            let socket = WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await;
            assert_eq!(echo_once(socket).await, "CONNECT of demo: hello");
        }
    }
    let mut moved = signer().sign(extended_connect("/ws?room=1").map(|_| "")).unwrap().map(|_| Empty::new());
    *moved.uri_mut() = "http://localhost/ws?room=2".parse().unwrap();
    for (request, code) in [(moved, "invalid_signature"), (extended_connect("/ws"), "unsigned")] {
        let response = sender.send_request(request).await.unwrap();
        assert_eq!((response.status().as_u16(), &response.headers()["x-error-code"]), (401, &code.parse().unwrap()));
        response.into_body().collect().await.unwrap();
    }
}

#[tokio::test]
async fn websocket_passes_a_translating_proxy() {
    let proxy = haproxy(serve(Scheme::new()).await);
    let connect = async |request: Request<()>| {
        let stream = TcpStream::connect(proxy.address).await.unwrap();
        client_async(request, stream).await.map(|(socket, _)| socket)
    };
    assert_eq!(echo_once(connect(handshake(&signer(), "/ws?room=1")).await.unwrap()).await, "CONNECT of demo: hello");
    let unsigned = "ws://localhost/ws".into_client_request().unwrap();
    assert_eq!(rejection(connect(unsigned).await.unwrap_err()), (401, "unsigned".to_owned()));
}

/// Uses the configuration of docs/proxies.md.
#[tokio::test]
async fn websocket_passes_nginx() {
    let page = block("nginx\n", 0, serve(Scheme::new()).await);
    let connect = async |nginx: &Proxy| {
        let stream = TcpStream::connect(nginx.address).await.unwrap();
        client_async(handshake(&signer(), "/ws?room=1"), stream).await.map(|(socket, _)| socket)
    };
    assert_eq!(echo_once(connect(&Proxy::nginx(&page)).await.unwrap()).await, "GET of demo: hello");
    let without = Proxy::nginx(&page.replace("proxy_set_header Upgrade $http_upgrade;", ""));
    assert!(connect(&without).await.is_err());
}

#[tokio::test]
async fn connect_without_a_path_is_malformed() {
    let signed = || signed_by(&signer(), rig::NOW, get("/ws"));
    let rejected = async |method: Method, uri: &str, version| {
        let mut request = signed();
        *request.method_mut() = method;
        *request.uri_mut() = uri.parse::<Uri>().unwrap();
        *request.version_mut() = version;
        rig::code(&verifier().0, request).await
    };
    for version in [Version::HTTP_11, Version::HTTP_2] {
        assert_eq!(rejected(Method::CONNECT, "localhost:80", version).await, "malformed_field");
        assert_eq!(rejected(Method::CONNECT, "*", version).await, "malformed_field");
        assert_eq!(rejected(Method::GET, "localhost:80", version).await, "malformed_field");
    }
    // HTTP/1.1 has only the plain CONNECT, for any form of target.
    for uri in ["/ws", "http://localhost/ws"] {
        assert_eq!(rejected(Method::CONNECT, uri, Version::HTTP_11).await, "malformed_field");
        assert_eq!(rejected(Method::CONNECT, uri, Version::HTTP_2).await, "accepted");
        assert_eq!(rejected(Method::CONNECT, uri, Version::HTTP_3).await, "accepted");
        assert_eq!(rejected(Method::OPTIONS, uri, Version::HTTP_2).await, "invalid_signature");
    }
}

#[tokio::test]
async fn http_1_connect_is_rejected_over_a_socket() {
    let address = serve(Scheme::new()).await;
    for target in ["localhost:80", "http://localhost/ws", "/ws"] {
        let signed = signer().sign(get("/ws")).unwrap();
        let mut head = format!("CONNECT {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
        for (name, value) in signed.headers() {
            head.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{target}: {answer}");
        assert!(answer.contains("x-error-code: malformed_field"), "{target}: {answer}");
    }
}

/// A HAProxy that uses HTTP/2 to the server.
fn haproxy(server: SocketAddr) -> Proxy {
    Proxy::haproxy(&format!(
        "defaults\n mode http\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n timeout tunnel 20s\n\
         frontend callers\n bind LISTEN\n default_backend servers\n\
         backend servers\n server one {server} proto h2\n"
    ))
}
