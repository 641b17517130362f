//! Refusals of requests with large bodies arrive: the rest of the body is read and discarded.

use std::{
    convert::Infallible,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use axum::{Router, http::StatusCode, routing::post as on_post};
use bytes::Bytes;
use countersign::{
    StaticKeys, VerifyLayer,
    server::{DrainLimits, ServiceBody, UnverifiedBody},
};
use http::{Request, Response};
use http_body_util::{Full, channel::Channel};
use hyper::server::conn::{http1, http2};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, task::yield_now};
use tower::{Layer, Service, service_fn};

use crate::{
    proxy::Proxy,
    rig::{self, verifier},
};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

fn layer() -> VerifyLayer<StaticKeys> {
    verifier().0.into_layer()
}

async fn answer(_: Request<ServiceBody>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::default()))
}

/// An axum service on a socket.
async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
    address
}

fn app(layer: VerifyLayer<StaticKeys>) -> Router {
    Router::new().route("/", on_post(async || "let in")).layer(layer)
}

/// Sends the whole body before it reads, as simple clients do. The status, or 0 where the answer was lost.
fn upload(address: SocketAddr, head: &str, length: usize) -> u16 {
    let send = || -> std::io::Result<u16> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let head = format!("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n{head}\r\n");
        stream.write_all(head.as_bytes())?;
        let piece = [b'x'; 64 * KIB];
        let mut left = length;
        while left > 0 {
            left -= stream.write(&piece[..left.min(piece.len())])?;
        }
        let mut answer = [0; 64];
        let count = stream.read(&mut answer)?;
        let status = answer[..count].strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3));
        Ok(status.and_then(|status| std::str::from_utf8(status).ok()?.parse().ok()).unwrap_or(0))
    };
    send().unwrap_or(0)
}

/// How many of 20 uploads get this status.
async fn arrived(address: SocketAddr, length: usize, status: u16) -> usize {
    let uploads = move || (0..20).filter(|_| upload(address, "", length) == status).count();
    tokio::task::spawn_blocking(uploads).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_of_an_upload_arrives() {
    let address = serve(app(layer())).await;
    for length in [128 * KIB, MIB, 1900 * KIB, 8 * MIB, 40 * MIB] {
        assert_eq!(arrived(address, length, 401).await, 20, "{length} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_arrives_from_plain_hyper() {
    let service = layer().layer(service_fn(answer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    assert_eq!(arrived(address, 8 * MIB, 401).await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_arrives_over_http2() {
    let service = layer().layer(service_fn(answer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service));
        }
    });
    let file = std::env::temp_dir().join(format!("countersign-upload-{}", std::process::id()));
    std::fs::write(&file, vec![b'x'; 8 * MIB]).unwrap();
    let upload = {
        let file = file.clone();
        move || {
            Command::new("curl")
                .args(["--http2-prior-knowledge", "--silent", "--max-time", "20", "--write-out", "%{http_code}"])
                .args(["--header", "content-type: text/plain", "--output", "/dev/null", "--data-binary"])
                .arg(format!("@{}", file.display()))
                .arg(format!("http://{address}/"))
                .output()
                .unwrap()
        }
    };
    for _ in 0..5 {
        let output = tokio::task::spawn_blocking(upload.clone()).await.unwrap();
        assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"401"[..]));
    }
    std::fs::remove_file(file).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_arrives_through_nginx() {
    let address = serve(app(layer())).await;
    let nginx = Proxy::nginx(&format!(
        "upstream app {{ server {address}; keepalive 8; }}
        server {{
            listen LISTEN; client_max_body_size 64m;
            location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ''; }}
        }}"
    ));
    for length in [128 * KIB, MIB, 1900 * KIB, 8 * MIB, 40 * MIB] {
        assert_eq!(arrived(nginx.address, length, 401).await, 20, "{length} bytes");
    }
}

/// nginx takes an upstream that breaks a connection for dead: with two of them, uploads that are refused must not keep others out.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_uploads_keeps_nobody_out() {
    let (first, second) = (serve(app(layer())).await, serve(app(layer())).await);
    let nginx = Proxy::nginx(&format!(
        "upstream app {{ server {first}; server {second}; keepalive 8; }}
        server {{
            listen LISTEN; client_max_body_size 8m;
            location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ''; }}
        }}"
    ));
    static IS_OVER: AtomicBool = AtomicBool::new(false);
    static REFUSED: AtomicUsize = AtomicUsize::new(0);
    let address = nginx.address;
    let flood: Vec<_> = (0..8)
        .map(|_| {
            tokio::task::spawn_blocking(move || {
                while !IS_OVER.load(Ordering::Relaxed) {
                    REFUSED.fetch_add(usize::from(upload(address, "", 1000 * KIB) == 401), Ordering::Relaxed);
                }
            })
        })
        .collect();
    let good = tokio::task::spawn_blocking(move || {
        let started = Instant::now();
        let (mut let_in, mut sent) = (0, 0);
        while started.elapsed() < Duration::from_secs(3) {
            let request = rig::signed(rig::post("/", "text/plain", ""));
            let field = |name: &str| format!("{name}: {}\r\n", request.headers()[name].to_str().unwrap());
            let names = ["x-app-id", "x-timestamp", "x-nonce", "x-sign", "content-type"];
            let_in += usize::from(upload(address, &names.map(field).concat(), 0) == 200);
            sent += 1;
        }
        (let_in, sent)
    });
    let (let_in, sent) = good.await.unwrap();
    IS_OVER.store(true, Ordering::Relaxed);
    for poster in flood {
        poster.await.unwrap();
    }
    assert_eq!(let_in, sent, "good calls; {REFUSED:?} uploads were refused");
    assert!(sent > 20 && REFUSED.load(Ordering::Relaxed) > 20, "{sent} good calls, {REFUSED:?} uploads");
}

#[tokio::test(flavor = "multi_thread")]
async fn expect_continue_uploads_nothing() {
    let address = serve(app(layer())).await;
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let head = "POST / HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 1000000\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        // The server closes the connection, for it cannot tell whether the body will come.
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    assert!(answer.await.unwrap().starts_with("HTTP/1.1 401 "), "and no 100");
}

/// The service answers before it has read the body.
#[tokio::test(flavor = "multi_thread")]
async fn an_early_answer_of_the_service_arrives() {
    let verifier = verifier().0.with_streamed_bodies();
    let layer = verifier.with_insecure_bypass(|_, _| true).into_layer();
    let too_early = on_post(async |_: Request<axum::body::Body>| StatusCode::IM_A_TEAPOT);
    let address = serve(Router::new().route("/", too_early).layer(layer)).await;
    assert_eq!(arrived(address, 8 * MIB, 418).await, 20);
}

/// An upload that is refused, and the sender of its body.
async fn refused(layer: &VerifyLayer<StaticKeys>) -> http_body_util::channel::Sender<Bytes, Infallible> {
    let (sender, body) = Channel::new(1);
    let mut service = layer.layer(service_fn(answer));
    let request = Request::post("/").body(UnverifiedBody::new(body)).unwrap();
    let response = service.call(request).await.unwrap();
    assert_eq!(response.status(), 401);
    sender
}

/// How many frames of 1 KiB are taken.
async fn taken(sender: &mut http_body_util::channel::Sender<Bytes, Infallible>, most: usize) -> usize {
    let frame = Bytes::from_static(&[b'x'; KIB]);
    for count in 0..most {
        if sender.send_data(frame.clone()).await.is_err() {
            return count;
        }
    }
    most
}

#[tokio::test]
async fn no_more_bytes_are_discarded_than_the_limit() {
    let layer = layer().with_drain_limits(DrainLimits::new().with_bytes(100 * KIB as u64));
    let count = taken(&mut refused(&layer).await, 1000).await;
    // One more waits in the channel.
    assert!((100..=102).contains(&count), "{count} KiB");
    assert_eq!(taken(&mut refused(&self::layer()).await, 1000).await, 1000);
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_is_dropped_after_the_timeout() {
    let started = tokio::time::Instant::now();
    let mut sender = refused(&layer()).await;
    while sender.send_data(Bytes::from_static(b"x")).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let elapsed = started.elapsed();
    assert!((5000..5300).contains(&elapsed.as_millis()), "{elapsed:?}");
}

#[tokio::test]
async fn no_more_bodies_are_drained_than_the_limit() {
    let layer = layer().with_drain_limits(DrainLimits::new().with_bodies(2));
    let mut senders = [refused(&layer).await, refused(&layer.clone()).await, refused(&layer).await];
    let mut counts = Vec::new();
    for sender in &mut senders {
        counts.push(taken(sender, 10).await);
    }
    assert_eq!(counts[..2], [10, 10]);
    assert!(counts[2] <= 1, "{counts:?}");
    let [first, ..] = senders;
    drop(first);
    yield_now().await;
    yield_now().await;
    assert_eq!(taken(&mut refused(&layer).await, 10).await, 10, "a place is free again");
}

#[tokio::test]
async fn a_limit_of_zero_drains_nothing() {
    let limits = DrainLimits::new();
    for limits in [limits.with_bytes(0), limits.with_timeout(Duration::ZERO), limits.with_bodies(0)] {
        let count = taken(&mut refused(&layer().with_drain_limits(limits)).await, 10).await;
        assert!(count <= 1, "{limits:?}");
    }
}

/// hyper drops the future of a request whose client is gone.
#[tokio::test]
async fn a_cancelled_request_is_drained_too() {
    let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
    let mut service = layer().layer(service_fn(answer));
    let form = Request::post("/").header("content-type", "application/x-www-form-urlencoded");
    let form = rig::signed(form.body("a=1").unwrap()).map(|_| UnverifiedBody::new(body));
    let mut call = service.call(form);
    assert!(futures_util::FutureExt::now_or_never(&mut call).is_none());
    drop(call);
    assert_eq!(taken(&mut sender, 10).await, 10);
}

#[test]
fn without_a_runtime_the_body_is_dropped() {
    let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
    let mut service = layer().layer(service_fn(answer));
    let request = Request::post("/").body(UnverifiedBody::new(body)).unwrap();
    let response = futures_util::FutureExt::now_or_never(service.call(request)).unwrap().unwrap();
    assert_eq!(response.status(), 401);
    assert!(sender.try_send(http_body::Frame::data(Bytes::new())).is_err());
}
