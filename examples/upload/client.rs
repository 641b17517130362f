//! The client: signs a file by its digest, and streams it.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

use bytes::Bytes;
use countersign::{BodyDigest, BodyHasher, Payload, Secret, Signer};
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

use crate::{Error, SECRET};

const CHUNK: usize = 256 * 1024;

pub(crate) fn digest_of(path: &Path) -> Result<BodyDigest, Error> {
    let mut hasher = BodyHasher::new();
    io::copy(&mut BufReader::with_capacity(CHUNK, File::open(path)?), &mut hasher)?;
    Ok(hasher.finish())
}

/// The head of a request for a body with this digest.
pub(crate) fn signed(url: &str, digest: BodyDigest) -> Result<http::request::Parts, Error> {
    let signer = Signer::new("demo".parse()?, Secret::new(SECRET)?);
    let (mut parts, ()) = Request::put(url).body(())?.into_parts();
    signer.sign_parts(&mut parts, Payload::Digest(digest))?;
    Ok(parts)
}

pub(crate) async fn send(path: &Path, url: &str, digest: BodyDigest) -> Result<(StatusCode, String), Error> {
    let mut file = File::open(path)?;
    let mut parts = signed(url, digest)?;
    parts.headers.insert("content-length", file.metadata()?.len().into());
    let frames = std::iter::from_fn(move || {
        let mut chunk = vec![0; CHUNK];
        match file.read(&mut chunk) {
            Ok(0) => None,
            Ok(length) => {
                chunk.truncate(length);
                Some(Ok(Frame::data(Bytes::from(chunk))))
            }
            Err(error) => Some(Err(error)),
        }
    });
    let body = StreamBody::new(futures_util::stream::iter(frames));
    let response = Client::builder(TokioExecutor::new()).build_http().request(Request::from_parts(parts, body)).await?;
    let status = response.status();
    let text = response.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&text).into_owned()))
}
