//! How much memory bodies take: a streamed one a frame, however long it is, and a collected one its bytes, however many
//! frames it comes in.

#![allow(clippy::unwrap_used, reason = "that is how a test fails")]

use std::convert::Infallible;

use bytes::Bytes;
use countersign::{
    BodyHasher, Limits, Payload, Secret, SignLayer, Signer, StaticKeys, Verifier, danger::ReportOnlyLayer,
    server::UnverifiedBody,
};
use futures_util::stream;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, StreamBody};
use tower::{Layer, ServiceExt, service_fn};

// Counts every allocation of this process, which has no other test for that reason.
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

    // Whoever sends a body picks its frames: a byte in one of its own must not cost more than a byte.
    let length = 1024 * 1024;
    let small = Request::put("http://localhost/").body(UnverifiedBody::new(frames(1, length))).unwrap();
    let peak = peak_of(SignLayer::new(signer()).layer(service_fn(count)), small, length);
    assert!(peak < 3 * length, "SignLayer: {peak} bytes at once");
}

fn signer() -> Signer {
    Signer::new("demo".parse().unwrap(), Secret::new(KEY).unwrap())
}

fn verifier() -> Verifier<StaticKeys> {
    let keys = StaticKeys::new([("demo".parse().unwrap(), Secret::new(KEY).unwrap())]);
    Verifier::new(keys).with_limits(Limits::new().with_body((FRAMES * FRAME) as u64)).with_streamed_bodies()
}

/// The most bytes that are allocated at once while a request is served, all `length` bytes of which arrive.
fn peak_of<S>(service: S, request: Request<UnverifiedBody>, length: usize) -> usize
where
    S: tower::Service<Request<UnverifiedBody>, Error: std::fmt::Debug>,
    S::Response: Into<Received>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
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

/// Each is made when it is asked for.
fn frames(size: usize, count: usize) -> impl Body<Data = Bytes, Error = Infallible> + Send {
    StreamBody::new(stream::iter((0..count).map(move |_| Ok(Frame::data(Bytes::from(vec![0; size]))))))
}
