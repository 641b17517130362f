//! How much memory a body takes that is handed on while it is checked: a frame, however long it is.

#![allow(clippy::unwrap_used, reason = "that is how a test fails")]

use std::convert::Infallible;

use bytes::Bytes;
use countersign::{
    BodyHasher, Limits, Payload, Scheme, Secret, Signer, StaticKeys, Verifier,
    danger::ReportOnlyLayer,
    server::{BodyError, ServiceBody, UnverifiedBody},
};
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tower::{Layer, ServiceExt, service_fn};

// Counts every allocation of this process, which has no other test for that reason.
#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const FRAME: usize = 64 * 1024;
const FRAMES: usize = 512;
const KEY: &str = "0123456789abcdef0123456789abcdef";

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let signer = Signer::new("demo".parse().unwrap(), Secret::new(KEY).unwrap());
    let verifier = || {
        let keys = StaticKeys::new([("demo".parse().unwrap(), Secret::new(KEY).unwrap())]);
        let scheme = Scheme::new().with_limits(Limits::new().with_body((FRAMES * FRAME) as u64));
        Verifier::new(keys).with_scheme(scheme).with_streamed_bodies()
    };
    let refusing = verifier().into_layer().layer(service_fn(count));
    let reporting = ReportOnlyLayer::new(verifier(), |_, verdict| assert!(verdict.is_ok())).layer(service_fn(count));

    for layer in ["VerifyLayer", "ReportOnlyLayer"] {
        let request = request(&signer);
        let profiler = dhat::Profiler::builder().testing().build();
        let received = runtime.block_on(async {
            match layer {
                "VerifyLayer" => refusing.clone().oneshot(request).await.unwrap().extensions().get().copied(),
                _ => reporting.clone().oneshot(request).await.unwrap().extensions().get().copied(),
            }
        });
        let peak = dhat::HeapStats::get().max_bytes;
        drop(profiler);
        assert_eq!(received, Some(FRAMES * FRAME), "{layer}");
        println!("{layer}: {FRAMES} frames of {FRAME} bytes, at most {peak} bytes of memory");
        assert!(peak < 4 * FRAME, "{layer}: {peak} bytes at once");
    }
}

async fn count(request: Request<ServiceBody>) -> Result<Response<http_body_util::Empty<Bytes>>, BodyError> {
    let mut body = request.into_body();
    let mut bytes: usize = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame?.into_data().map_or(0, |data| data.len());
    }
    let mut response = Response::default();
    response.extensions_mut().insert(bytes);
    Ok(response)
}

/// Each frame is made when it is asked for.
fn request(signer: &Signer) -> Request<UnverifiedBody> {
    let mut hasher = BodyHasher::new();
    (0..FRAMES).for_each(|n| hasher.update(&frame(n)));
    let (mut parts, ()) = Request::put("/").body(()).unwrap().into_parts();
    signer.sign_parts(&mut parts, Payload::Digest(hasher.finish())).unwrap();
    let frames = (0..FRAMES).map(|n| Ok::<_, Infallible>(Frame::data(frame(n))));
    Request::from_parts(parts, UnverifiedBody::new(StreamBody::new(stream::iter(frames))))
}

fn frame(n: usize) -> Bytes {
    vec![n as u8; FRAME].into()
}
