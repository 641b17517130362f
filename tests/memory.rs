//! The memory for bodies. A streamed body takes one frame of memory at any length. A buffered body takes its own
//! length, for any number of frames. Unfinished forms take at most the verifier's form memory, for any number of forms.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use bytes::Bytes;
use countersign::{
    BodyHasher, Limits, Payload, Secret, SignLayer, Signer, StaticKeys, Verifier, danger::ReportOnlyLayer,
    server::UnverifiedBody,
};
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tower::{Layer, ServiceExt, service_fn};

// Counts every allocation of this process. Therefore this binary has no other test.
#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const FRAME: usize = 64 * 1024;
const FRAMES: usize = 512;
const KEY: &str = "0123456789abcdef0123456789abcdef";

fn main() {
    let peak = peak_of(verifier().into_layer().layer(service_fn(count)), signed(), FRAMES * FRAME);
    assert!(peak < 4 * FRAME, "VerifyLayer: {peak} bytes at once");

    let reporting = ReportOnlyLayer::new(verifier(), |_, verdict| assert!(verdict.is_ok()));
    let peak = peak_of(reporting.layer(service_fn(count)), signed(), FRAMES * FRAME);
    assert!(peak < 4 * FRAME, "ReportOnlyLayer: {peak} bytes at once");

    // A sender chooses its frames. A frame of one byte must not take more memory than one byte.
    let length = 1024 * 1024;
    let small = Request::put("http://localhost/").body(UnverifiedBody::new(frames(1, length))).unwrap();
    let peak = peak_of(SignLayer::new(signer()).layer(service_fn(count)), small, length);
    assert!(peak < 3 * length, "SignLayer: {peak} bytes at once");

    unfinished_forms();
    unfinished_forms_over_sockets();
}

/// The number of forms that arrive concurrently and never end.
const FORMS: usize = 300;
const FORM: usize = 250_000;
/// With pieces of this size, a doubling buffer has twice the form's length at its end.
const PIECE: usize = 15_600;
/// The default form memory of a verifier.
const BUDGET: usize = 64 * 1024 * 1024;
/// The number of forms that do not fit, with up to an eighth of overhead for each.
const TOO_MANY: std::ops::RangeInclusive<usize> = FORMS - BUDGET / FORM..=FORMS - BUDGET * 8 / 9 / FORM;

/// The head of a form with an invalid signature, which the verifier detects only after it has read the body.
fn form_head() -> http::request::Builder {
    let request = Request::post("http://localhost/").header("content-type", "application/x-www-form-urlencoded");
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let request = request.header("x-app-id", "demo").header("x-timestamp", now);
    request.header("x-nonce", "nonce-1").header("x-sign", "0".repeat(64))
}

fn pieces() -> impl Iterator<Item = usize> {
    (0..FORM).step_by(PIECE).map(|start| PIECE.min(FORM - start))
}

fn unfinished_forms() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let keys = StaticKeys::new([("demo".parse().unwrap(), Secret::new(KEY).unwrap())]).unwrap();
    let verifier = Verifier::new(keys);
    let profiler = dhat::Profiler::builder().testing().build();
    let codes = runtime.block_on(async {
        let tasks: Vec<_> = (0..FORMS)
            .map(|_| {
                let arrived = pieces().map(|length| Ok::<_, Infallible>(Frame::data(Bytes::from(vec![b'a'; length]))));
                let body = StreamBody::new(stream::iter(arrived).chain(stream::pending()));
                let verifier = verifier.clone();
                tokio::spawn(async move { verifier.verify(form_head().body(UnverifiedBody::new(body)).unwrap()).await })
            })
            .collect();
        // Enough turns of the runtime to poll all tasks.
        for _ in 0..FORMS {
            tokio::task::yield_now().await;
        }
        let mut codes = Vec::new();
        for task in tasks {
            codes.push(match task.is_finished() {
                true => task.await.unwrap().map_or_else(|rejection| rejection.kind().code(), |_| "accepted"),
                false => "unfinished",
            });
        }
        codes
    });
    let peak = dhat::HeapStats::get().max_bytes;
    drop(profiler);
    assert!(peak < BUDGET + BUDGET / 32, "{FORMS} unfinished forms: {peak} bytes at once");
    let ended = codes.iter().filter(|&&code| code == "unavailable").count();
    assert!(TOO_MANY.contains(&ended), "{ended} of {FORMS} were ended");
    assert!(codes.iter().all(|code| ["unavailable", "unfinished"].contains(code)), "{codes:?}");
    assert!(codes[..ended].iter().all(|&code| code == "unavailable"), "the oldest of the equal ones: {codes:?}");
}

/// Measures the whole process, including hyper and the callers.
fn unfinished_forms_over_sockets() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let profiler = dhat::Profiler::builder().testing().build();
    runtime.block_on(async {
        let address = serve().await;
        let mut callers = Vec::new();
        for _ in 0..FORMS {
            callers.push(caller(address, FORM).await);
        }
        // The callers have sent all their bytes, and the server has read them.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut small = caller(address, 100).await;
        small.write_all(&[b'a'; 1]).await.unwrap();
        assert_eq!(status(&mut small).await, "401", "a small form is read and rejected for its signature");
        let mut ended = 0;
        for caller in &mut callers {
            if let Ok(status) = tokio::time::timeout(Duration::from_millis(1), status(caller)).await {
                assert_eq!(status, "503");
                ended += 1;
            }
        }
        assert!(TOO_MANY.contains(&ended), "{ended} of {FORMS} were ended");
    });
    let peak = dhat::HeapStats::get().max_bytes;
    drop(profiler);
    // Each connection has a read buffer and a write buffer of hyper, and the timer of the form's deadline.
    let of_others = FORMS * (2 * 16 * 1024 + 1024);
    assert!(peak < BUDGET + BUDGET / 32 + of_others, "{FORMS} connections: {peak} bytes at once");
}

async fn serve() -> SocketAddr {
    let keys = StaticKeys::new([("demo".parse().unwrap(), Secret::new(KEY).unwrap())]).unwrap();
    let service = Verifier::new(keys).into_layer().layer(service_fn(count));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(service.clone());
            let mut builder = http1::Builder::new();
            tokio::spawn(builder.max_buf_size(16 * 1024).serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

/// Sends a form without its last byte.
async fn caller(address: SocketAddr, length: usize) -> TcpStream {
    static BYTES: [u8; FORM] = {
        let mut bytes = [b'a'; FORM];
        bytes[1] = b'=';
        bytes
    };
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut head = format!("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n");
    for (name, value) in form_head().body(()).unwrap().headers() {
        head.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&BYTES[..length - 1]).await.unwrap();
    stream
}

async fn status(stream: &mut TcpStream) -> String {
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    String::from_utf8_lossy(&start[9..]).into_owned()
}

fn signer() -> Signer {
    Signer::new("demo".parse().unwrap(), Secret::new(KEY).unwrap())
}

fn verifier() -> Verifier<StaticKeys> {
    let keys = StaticKeys::new([("demo".parse().unwrap(), Secret::new(KEY).unwrap())]).unwrap();
    Verifier::new(keys).with_limits(Limits::new().with_body((FRAMES * FRAME) as u64)).with_streamed_bodies()
}

/// The largest number of bytes allocated at once while a request of `length` bytes is served.
fn peak_of<S>(service: S, request: Request<UnverifiedBody>, length: usize) -> usize
where
    S: tower::Service<Request<UnverifiedBody>, Error: std::fmt::Debug>,
    S::Response: Into<Received>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let profiler = dhat::Profiler::builder().testing().build();
    let received = runtime.block_on(service.oneshot(request)).unwrap().into();
    let peak = dhat::HeapStats::get().max_bytes;
    drop(profiler);
    assert_eq!(received, Received(length));
    peak
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Received(usize);

impl<B> From<Response<B>> for Received {
    fn from(response: Response<B>) -> Self {
        *response.extensions().get().unwrap()
    }
}

async fn count<B: Body<Data = Bytes>>(request: Request<B>) -> Result<Response<Empty<Bytes>>, B::Error> {
    let mut body = Box::pin(request.into_body());
    let mut received = 0;
    while let Some(frame) = body.frame().await {
        received += frame?.into_data().map_or(0, |data| data.len());
    }
    let mut response = Response::default();
    response.extensions_mut().insert(Received(received));
    Ok(response)
}

fn signed() -> Request<UnverifiedBody> {
    let mut hasher = BodyHasher::new();
    (0..FRAMES).for_each(|_| hasher.update(&[0; FRAME]));
    let (mut parts, ()) = Request::put("/").body(()).unwrap().into_parts();
    signer().sign_parts(&mut parts, Payload::Digest(hasher.finish())).unwrap();
    Request::from_parts(parts, UnverifiedBody::new(frames(FRAME, FRAMES)))
}

/// A body that allocates each frame when it is polled.
fn frames(size: usize, count: usize) -> impl Body<Data = Bytes, Error = Infallible> + Send {
    StreamBody::new(stream::iter((0..count).map(move |_| Ok(Frame::data(Bytes::from(vec![0; size]))))))
}
