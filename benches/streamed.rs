//! The cost of verifying a large body while it is streamed, compared with the SHA-256 of its bytes.
//!
//! ```sh
//! cargo bench --bench streamed
//! ```

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench may panic")]

mod rig;

use std::convert::Infallible;

use axum::body::Body;
use bytes::Bytes;
use countersign::{StaticKeys, Verifier};
use futures_util::{FutureExt, stream};
use http::{Method, Request};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use sha2::{Digest, Sha256};

use self::rig::time;

const FRAME: usize = 64 * 1024;
const FRAMES: usize = 16;

fn main() {
    let mut criterion = rig::criterion();
    let keys = StaticKeys::new([("demo".parse().unwrap(), rig::secret())]).unwrap();
    let verifier = Verifier::new(keys).with_streamed_bodies();
    let bytes = Bytes::from((0..FRAMES * FRAME).map(|n| n as u8).collect::<Vec<_>>());
    let frames: Vec<Bytes> = bytes.chunks(FRAME).map(|frame| bytes.slice_ref(frame)).collect();
    let unsigned = rig::request(Method::PUT, "/files/1", bytes.clone());

    rig::in_turns(&mut criterion, "streamed/1 MiB", ["verify and read", "SHA-256"], |count| {
        let signed = (0..count).map(|_| rig::signer().sign(unsigned.clone()).unwrap());
        let requests: Vec<_> = signed.map(|request| request.map(|_| streaming(frames.clone()))).collect();
        let (whole, _) = time(requests, |request| receive(&verifier, request));
        let (sha256, _) = time(0..count, |_| {
            let mut hasher = Sha256::new();
            frames.iter().for_each(|frame| hasher.update(frame));
            hasher.finalize()
        });
        [whole, sha256]
    });
    criterion.final_summary();
}

fn streaming(frames: Vec<Bytes>) -> Body {
    Body::new(StreamBody::new(stream::iter(frames.into_iter().map(|data| Ok::<_, Infallible>(Frame::data(data))))))
}

/// The futures never wait.
fn receive(verifier: &Verifier<StaticKeys>, request: Request<Body>) -> usize {
    let mut body = verifier.verify(request).now_or_never().unwrap().unwrap().into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().now_or_never().unwrap() {
        bytes += frame.unwrap().into_data().unwrap().len();
    }
    assert_eq!(bytes, FRAMES * FRAME);
    bytes
}
