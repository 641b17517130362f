//! After a rejection, the layer reads and discards the rest of a large body, so that the client receives the response.

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

/// Serves the app on a loopback socket.
async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
    address
}

fn app(layer: VerifyLayer<StaticKeys>) -> Router {
    Router::new().route("/", on_post(async || "accepted")).layer(layer)
}

/// Sends the whole body before it reads, as simple clients do. Returns the status, or 0 if the response was lost.
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

/// The number of uploads, of 20, that get this status.
async fn count_status(address: SocketAddr, length: usize, status: u16) -> usize {
    let uploads = move || (0..20).filter(|_| upload(address, "", length) == status).count();
    tokio::task::spawn_blocking(uploads).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn upload_rejections_reach_the_client() {
    let address = serve(app(layer())).await;
    for length in [128 * KIB, MIB, 1900 * KIB, 8 * MIB, 40 * MIB] {
        assert_eq!(count_status(address, length, 401).await, 20, "{length} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn upload_rejections_reach_the_client_over_plain_hyper() {
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
    assert_eq!(count_status(address, 8 * MIB, 401).await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn upload_rejections_reach_the_client_over_http2() {
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
async fn upload_rejections_reach_the_client_through_nginx() {
    let address = serve(app(layer())).await;
    let nginx = Proxy::nginx(&format!(
        "upstream app {{ server {address}; keepalive 8; }}
        server {{
            listen LISTEN; client_max_body_size 64m;
            location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ''; }}
        }}"
    ));
    for length in [128 * KIB, MIB, 1900 * KIB, 8 * MIB, 40 * MIB] {
        assert_eq!(count_status(nginx.address, length, 401).await, 20, "{length} bytes");
    }
}

/// nginx marks an upstream as failed when it resets a connection. Rejected uploads must not make nginx block valid
/// calls.
#[tokio::test(flavor = "multi_thread")]
async fn flood_of_rejected_uploads_blocks_no_valid_call() {
    let (first, second) = (serve(app(layer())).await, serve(app(layer())).await);
    let nginx = Proxy::nginx(&format!(
        "upstream app {{ server {first}; server {second}; keepalive 8; }}
        server {{
            listen LISTEN; client_max_body_size 8m;
            location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ''; }}
        }}"
    ));
    static STOP: AtomicBool = AtomicBool::new(false);
    static REJECTED: AtomicUsize = AtomicUsize::new(0);
    let address = nginx.address;
    let flood: Vec<_> = (0..8)
        .map(|_| {
            tokio::task::spawn_blocking(move || {
                while !STOP.load(Ordering::Relaxed) {
                    REJECTED.fetch_add(usize::from(upload(address, "", 1000 * KIB) == 401), Ordering::Relaxed);
                }
            })
        })
        .collect();
    let valid = tokio::task::spawn_blocking(move || {
        let started = Instant::now();
        let (mut accepted, mut sent) = (0, 0);
        while started.elapsed() < Duration::from_secs(3) {
            let request = rig::signed(rig::post("/", "text/plain", ""));
            let field = |name: &str| format!("{name}: {}\r\n", request.headers()[name].to_str().unwrap());
            let names = ["x-app-id", "x-timestamp", "x-nonce", "x-sign", "content-type"];
            accepted += usize::from(upload(address, &names.map(field).concat(), 0) == 200);
            sent += 1;
        }
        (accepted, sent)
    });
    let (accepted, sent) = valid.await.unwrap();
    STOP.store(true, Ordering::Relaxed);
    for upload in flood {
        upload.await.unwrap();
    }
    assert_eq!(accepted, sent, "valid calls; {REJECTED:?} uploads were rejected");
    assert!(sent > 20 && REJECTED.load(Ordering::Relaxed) > 20, "{sent} valid calls, {REJECTED:?} uploads");
}

#[tokio::test(flavor = "multi_thread")]
async fn expect_continue_upload_is_rejected_without_100() {
    let address = serve(app(layer())).await;
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let head = "POST / HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 1000000\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        // The server closes the connection, because it does not know whether the body follows.
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    assert!(answer.await.unwrap().starts_with("HTTP/1.1 401 "), "no 100 Continue");
}

/// The service responds before it has read the body.
#[tokio::test(flavor = "multi_thread")]
async fn early_service_response_reaches_the_client() {
    let verifier = verifier().0.with_streamed_bodies();
    let layer = verifier.with_insecure_bypass(|_, _| true).into_layer();
    let too_early = on_post(async |_: Request<axum::body::Body>| StatusCode::IM_A_TEAPOT);
    let address = serve(Router::new().route("/", too_early).layer(layer)).await;
    assert_eq!(count_status(address, 8 * MIB, 418).await, 20);
}

/// Sends an upload that is rejected. Returns the sender of its body.
async fn reject_upload(layer: &VerifyLayer<StaticKeys>) -> http_body_util::channel::Sender<Bytes, Infallible> {
    let (sender, body) = Channel::new(1);
    let mut service = layer.layer(service_fn(answer));
    let request = Request::post("/").body(UnverifiedBody::new(body)).unwrap();
    let response = service.call(request).await.unwrap();
    assert_eq!(response.status(), 401);
    sender
}

/// Sends up to `most` frames of 1 KiB. Returns how many the layer read.
async fn count_read_frames(sender: &mut http_body_util::channel::Sender<Bytes, Infallible>, most: usize) -> usize {
    let frame = Bytes::from_static(&[b'x'; KIB]);
    for count in 0..most {
        if sender.send_data(frame.clone()).await.is_err() {
            return count;
        }
    }
    most
}

#[tokio::test]
async fn drained_bytes_are_limited() {
    let layer = layer().with_drain_limits(DrainLimits::new().with_bytes(100 * KIB as u64));
    let count = count_read_frames(&mut reject_upload(&layer).await, 1000).await;
    // The channel buffers one more frame.
    assert!((100..=102).contains(&count), "{count} KiB");
    assert_eq!(count_read_frames(&mut reject_upload(&self::layer()).await, 1000).await, 1000);
}

#[tokio::test(start_paused = true)]
async fn slow_body_is_dropped_after_the_timeout() {
    let started = tokio::time::Instant::now();
    let mut sender = reject_upload(&layer()).await;
    while sender.send_data(Bytes::from_static(b"x")).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let elapsed = started.elapsed();
    assert!((5000..5300).contains(&elapsed.as_millis()), "{elapsed:?}");
}

#[tokio::test]
async fn concurrent_drains_are_limited() {
    let layer = layer().with_drain_limits(DrainLimits::new().with_bodies(2));
    let mut senders = [reject_upload(&layer).await, reject_upload(&layer.clone()).await, reject_upload(&layer).await];
    let mut counts = Vec::new();
    for sender in &mut senders {
        counts.push(count_read_frames(sender, 10).await);
    }
    assert_eq!(counts[..2], [10, 10]);
    assert!(counts[2] <= 1, "{counts:?}");
    let [first, ..] = senders;
    drop(first);
    yield_now().await;
    yield_now().await;
    assert_eq!(count_read_frames(&mut reject_upload(&layer).await, 10).await, 10, "a slot is free again");
}

#[tokio::test]
async fn drain_limit_of_zero_drains_nothing() {
    let limits = DrainLimits::new();
    for limits in [limits.with_bytes(0), limits.with_timeout(Duration::ZERO), limits.with_bodies(0)] {
        let count = count_read_frames(&mut reject_upload(&layer().with_drain_limits(limits)).await, 10).await;
        assert!(count <= 1, "{limits:?}");
    }
}

/// hyper drops the request's future when the client disconnects.
#[tokio::test]
async fn cancelled_request_is_drained() {
    let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
    let mut service = layer().layer(service_fn(answer));
    let form = Request::post("/").header("content-type", "application/x-www-form-urlencoded");
    let form = rig::signed(form.body("a=1").unwrap()).map(|_| UnverifiedBody::new(body));
    let mut call = service.call(form);
    assert!(futures_util::FutureExt::now_or_never(&mut call).is_none());
    drop(call);
    assert_eq!(count_read_frames(&mut sender, 10).await, 10);
}

#[test]
fn body_is_dropped_without_a_runtime() {
    let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
    let mut service = layer().layer(service_fn(answer));
    let request = Request::post("/").body(UnverifiedBody::new(body)).unwrap();
    let response = futures_util::FutureExt::now_or_never(service.call(request)).unwrap().unwrap();
    assert_eq!(response.status(), 401);
    assert!(sender.try_send(http_body::Frame::data(Bytes::new())).is_err());
}
