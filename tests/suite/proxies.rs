//! Runs the configurations of docs/proxies.md in real proxies.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::Router;
use countersign::{Scheme, Signer, StaticKeys, Verifier, VerifyLayer};
use http::{HeaderMap, HeaderName, Request, Uri};
use tokio::net::TcpListener;

use crate::{
    proxy::Proxy,
    rig::{keys, signer, signer_of},
};

const PAGE: &str = include_str!("../../docs/proxies.md");

/// Paths that a proxy changes if it decodes and normalizes them.
const PATHS: [&str; 10] = ["/a%2Fb", "/%28", "/%40", "/%3D", "/%2C", "/%7E", "/%2B", "/%c3%a9", "/a//b", "/a/./b"];

/// A block of the page, with the address of this server.
pub(crate) fn block(language: &str, index: usize, server: SocketAddr) -> String {
    let blocks = PAGE.split("\n```").skip(1).step_by(2).filter_map(|block| block.strip_prefix(language));
    let block = blocks.into_iter().nth(index).unwrap();
    assert!(block.contains("127.0.0.1:8080") && block.contains("80"), "{block}");
    let block = block.replace("127.0.0.1:8080", &server.to_string());
    block.replace("listen 80;", "listen LISTEN;").replace("bind :80", "bind LISTEN") + "\n"
}

fn layer() -> VerifyLayer<StaticKeys> {
    Verifier::new(keys()).into_layer()
}

/// A server that responds to verified requests with the target, the header names, and the length of the body.
async fn serve(layer: VerifyLayer<StaticKeys>) -> SocketAddr {
    let echo = async |uri: Uri, headers: HeaderMap, body: bytes::Bytes| {
        let names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        format!("{uri} [{}] {} bytes", names.join(","), body.len())
    };
    let app = Router::new().fallback(echo).layer(layer);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// The whole response, including the head, of a server that closes the connection.
async fn send(to: SocketAddr, request: &Request<Vec<u8>>) -> String {
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method(), request.uri());
    if !request.headers().contains_key("host") {
        head += "host: app\r\n";
    }
    for (name, value) in request.headers() {
        head += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    head += &format!("connection: close\r\ncontent-length: {}\r\n\r\n", request.body().len());
    let bytes = [head.as_bytes(), request.body()].concat();
    let exchange = move || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(to)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(&bytes)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    tokio::task::spawn_blocking(exchange).await.unwrap().unwrap()
}

fn status_of(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

fn signed(target: &str) -> Request<Vec<u8>> {
    signer().sign(Request::get(target).body(Vec::new()).unwrap()).unwrap()
}

async fn status(proxy: &Proxy, target: &str) -> u16 {
    status_of(&send(proxy.address, &signed(target)).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_keeps_paths() {
    let nginx = Proxy::nginx(&block("nginx\n", 0, serve(layer()).await));
    for path in PATHS {
        assert_eq!(status(&nginx, &format!("{path}?b=%7E&a=1")).await, 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_with_a_uri_changes_paths() {
    let page = block("nginx\n", 0, serve(layer()).await);
    for change in ["proxy_pass http://app/;", "rewrite ^(.*)$ $1 break; proxy_pass http://app;"] {
        let nginx = Proxy::nginx(&page.replace("proxy_pass http://app;", change));
        assert_eq!(status(&nginx, "/plain").await, 200);
        for path in PATHS {
            assert_eq!(status(&nginx, path).await, 401, "{change} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_strips_a_prefix() {
    let layer = || Verifier::new(keys()).with_prefix("/api").unwrap().into_layer();
    let page = block("nginx\n", 1, serve(layer()).await);
    let nginx = Proxy::nginx(&page);
    for path in PATHS {
        let answer = send(nginx.address, &signed(&format!("/api{path}?b=%7E&a=1"))).await;
        assert!(answer.contains(&format!("{path}?b=%7E&a=1 [")), "{answer}");
    }
    assert!(send(nginx.address, &signed("/api/")).await.contains("\r\n\r\n/ ["));
    assert_eq!(status(&nginx, "/api").await, 301);
    let careless = page.replace("proxy_pass http://app$app_uri;", "proxy_pass http://app/;");
    let nginx = Proxy::nginx(&careless);
    assert_eq!(status(&nginx, "/api/plain").await, 200);
    for path in PATHS {
        assert_eq!(status(&nginx, &format!("/api{path}")).await, 401, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn caching_nginx_keeps_head() {
    let page = block("nginx\n", 0, serve(layer()).await);
    let caching = |page: &str| {
        let page = page.replace("proxy_next_upstream off;", "proxy_next_upstream off; proxy_cache all;");
        Proxy::nginx(&format!("proxy_cache_path cache keys_zone=all:1m;\n{page}"))
    };
    let head = || signer().sign(Request::head("/").body(Vec::new()).unwrap()).unwrap();
    assert_eq!(status_of(&send(caching(&page).address, &head()).await), 200);
    let converted = caching(&page.replace("proxy_cache_convert_head off;", ""));
    assert_eq!(status_of(&send(converted.address, &head()).await), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_limits_bodies() {
    let page = block("nginx\n", 0, serve(layer()).await);
    let post = |size| signer().sign(Request::post("/").body(vec![b'a'; size]).unwrap()).unwrap();
    let nginx = Proxy::nginx(&page);
    assert_eq!(status_of(&send(nginx.address, &post(2 << 20)).await), 200);
    let rejected = send(nginx.address, &post((2 << 20) + 1)).await;
    assert!(
        rejected.starts_with("HTTP/1.1 413 ") && !rejected.contains("x-error-code"),
        "nginx rejects it: {rejected}"
    );
    let nginx = Proxy::nginx(&page.replace("client_max_body_size 2m;", ""));
    assert_eq!(status_of(&send(nginx.address, &post((1 << 20) + 1)).await), 413, "nginx's default limit is 1 MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_forwards_the_host() {
    let scheme = Scheme::new().with_signed_headers([http::header::HOST]).unwrap();
    let page = block("nginx\n", 0, serve(Verifier::new(keys()).with_scheme(scheme.clone()).into_layer()).await);
    let signer: Signer = signer_of(scheme);
    let request = || {
        let request = Request::get("/").header("host", "orders.example.com:8443").body(Vec::new()).unwrap();
        signer.sign(request).unwrap()
    };
    assert_eq!(status_of(&send(Proxy::nginx(&page).address, &request()).await), 200);
    for change in ["", "proxy_set_header Host $host;"] {
        let nginx = Proxy::nginx(&page.replace("proxy_set_header Host $http_host;", change));
        assert_eq!(status_of(&send(nginx.address, &request()).await), 401, "{change}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_drops_some_headers() {
    let nginx = Proxy::nginx(&block("nginx\n", 0, serve(layer()).await));
    let mut request = signed("/");
    for name in ["keep-alive", "te", "with_underscore", "x-kept"] {
        request.headers_mut().insert(name, "1".parse().unwrap());
    }
    let answer = send(nginx.address, &request).await;
    assert!(answer.contains("x-kept"), "{answer}");
    for name in ["keep-alive", "with_underscore"] {
        assert!(!answer.contains(name), "{name} in {answer}");
    }
}

/// nginx sends the 100 Continue itself, and reads the whole body before it forwards the request.
#[tokio::test(flavor = "multi_thread")]
async fn nginx_buffers_bodies() {
    let nginx = Proxy::nginx(&block("nginx\n", 0, serve(layer()).await));
    let address = nginx.address;
    let exchange = move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let head = "POST / HTTP/1.1\r\nhost: app\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = [0; 25];
        stream.read_exact(&mut answer).unwrap();
        answer
    };
    let answer = tokio::task::spawn_blocking(exchange).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n", "the service would have rejected the request");
}

/// A server that reads requests and never responds.
fn silent_server() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = count.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(2).flatten() {
            let _ = Read::read(&mut &stream, &mut [0; 4096]);
            counted.fetch_add(1, SeqCst);
        }
    });
    (address, count)
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_sends_a_request_once() {
    for (line, expected) in [("proxy_next_upstream off;", 1), ("", 2)] {
        let ((first, first_count), (second, second_count)) = (silent_server(), silent_server());
        let page = block("nginx\n", 0, first).replace("keepalive 32;", &format!("server {second}; keepalive 32;"));
        let nginx = Proxy::nginx(&page.replace("proxy_next_upstream off;", line));
        assert_eq!(status(&nginx, "/").await, 502);
        assert_eq!(first_count.load(SeqCst) + second_count.load(SeqCst), expected, "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_keeps_paths() {
    let haproxy = Proxy::haproxy(&block("haproxy\n", 0, serve(layer()).await));
    for path in PATHS {
        assert_eq!(status(&haproxy, &format!("{path}?b=%7E&a=1")).await, 200, "{path}");
    }
}
