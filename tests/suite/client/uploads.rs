//! Bodies that are files or multipart forms.

use std::{
    fs::File,
    io::Read,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axum::{Router, body::Body as AxumBody};
use bytes::Bytes;
use countersign::{BodyDigest, BodyHasher, Limits, Scheme, SignErrorKind, SignLayer, Verifier, client::SignedBody};
use futures_util::TryStreamExt;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::Full;
use reqwest::multipart::{Form, Part};
use tower::{ServiceBuilder, ServiceExt, retry::Policy, service_fn};

use super::{outcome, plain_client, serve, server};
use crate::rig::{self, signer};

const LENGTH: usize = 5 * 1024 * 1024;

/// A file of 5 MiB, more than the default body limit.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("countersign-file-{}-{count}", std::process::id()));
        std::fs::write(&path, vec![b'x'; LENGTH]).unwrap();
        Self(path)
    }

    fn digest(&self) -> BodyDigest {
        let mut hasher = BodyHasher::new();
        std::io::copy(&mut File::open(&self.0).unwrap(), &mut hasher).unwrap();
        hasher.finish()
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Reads the file while it is sent. A clone starts again at the beginning.
struct FileBody {
    path: PathBuf,
    file: Option<File>,
}

impl Clone for FileBody {
    fn clone(&self) -> Self {
        Self { path: self.path.clone(), file: None }
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let path = self.path.clone();
        let mut chunk = vec![0; 64 * 1024];
        let file = self.file.get_or_insert_with(|| File::open(path).unwrap());
        let length = file.read(&mut chunk)?;
        chunk.truncate(length);
        Poll::Ready((length > 0).then(|| Ok(Frame::data(chunk.into()))))
    }
}

#[derive(Clone)]
struct RetryOn503;

impl<R, E> Policy<Request<FileBody>, Response<R>, E> for RetryOn503 {
    type Future = std::future::Ready<()>;

    fn retry(&mut self, _: &mut Request<FileBody>, result: &mut Result<Response<R>, E>) -> Option<Self::Future> {
        let is_busy = result.as_ref().is_ok_and(|response| response.status() == StatusCode::SERVICE_UNAVAILABLE);
        is_busy.then(|| std::future::ready(()))
    }

    fn clone_request(&mut self, request: &Request<FileBody>) -> Option<Request<FileBody>> {
        Some(request.clone())
    }
}

/// A service that streams uploads. It returns 503 to the first upload, and the length of each later one.
async fn uploads() -> String {
    let verifier = Verifier::new(rig::keys()).with_limits(Limits::new().with_body(u64::MAX)).with_streamed_bodies();
    let count = Arc::new(AtomicUsize::new(0));
    let store = async move |body: AxumBody| {
        let Ok(bytes) = axum::body::to_bytes(body, usize::MAX).await else {
            return (StatusCode::BAD_REQUEST, "the body does not match its signature".to_owned());
        };
        match count.fetch_add(1, Ordering::Relaxed) {
            0 => (StatusCode::SERVICE_UNAVAILABLE, "busy".to_owned()),
            _ => (StatusCode::OK, format!("{} bytes", bytes.len())),
        }
    };
    let address = serve(Router::new().fallback(store).layer(verifier.into_layer())).await;
    format!("http://{address}/files/1")
}

#[tokio::test]
async fn streamed_file_is_signed_again_on_retry() {
    let (file, url) = (TemporaryFile::new(), uploads().await);
    let body = FileBody { path: file.0.clone(), file: None };
    let request = Request::put(&url).extension(file.digest()).body(body).unwrap();
    let origin = url.strip_suffix("/files/1").unwrap();
    let signing = SignLayer::new(signer()).with_origins([origin]).unwrap();
    let retry = tower::retry::RetryLayer::new(RetryOn503);
    let client = ServiceBuilder::new().layer(retry).layer(signing).service(plain_client());
    assert_eq!(outcome(client.oneshot(request).await.unwrap()).await, (200, format!("{LENGTH} bytes")));
}

#[tokio::test]
async fn file_for_another_origin_is_streamed_unsigned() {
    let file = TemporaryFile::new();
    let body = FileBody { path: file.0.clone(), file: None };
    let request = Request::put("http://127.0.0.1:1/").header("x-content-sha256", "old").body(body).unwrap();
    let wire = service_fn(async |request: Request<SignedBody>| {
        assert!(!request.headers().contains_key("x-sign") && !request.headers().contains_key("x-content-sha256"));
        assert!(request.body().try_clone().is_none(), "the body is streamed");
        let length = rig::bytes(request.into_body()).await.len();
        Ok::<_, std::convert::Infallible>(Response::new(length.to_string()))
    });
    let signing = SignLayer::new(signer()).with_origins(["http://127.0.0.1:2"]).unwrap();
    let client = ServiceBuilder::new().layer(signing).service(wire);
    let response = client.oneshot(request).await.unwrap();
    assert_eq!(rig::bytes(response.into_body()).await, LENGTH.to_string());
}

#[tokio::test]
async fn body_beyond_max_body_is_not_sent() {
    let never = service_fn(|_: Request<SignedBody>| async {
        Ok::<_, std::convert::Infallible>(Response::new("sent".to_owned()))
    });
    let client = ServiceBuilder::new().layer(SignLayer::new(signer()).with_max_body(10)).service(never);
    let send = |body: &'static str| client.clone().oneshot(Request::new(Full::new(Bytes::from(body))));
    assert_eq!(rig::bytes(send("ten bytes!").await.unwrap().into_body()).await, "sent");
    let error = send("eleven byte").await.unwrap_err();
    assert_eq!(error.sign_error().unwrap().kind(), SignErrorKind::Body);
    for part in ["10 bytes", "with_max_body", "BodyDigest"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[tokio::test]
async fn reqwest_streams_a_file_with_a_digest_header() {
    let (file, url) = (TemporaryFile::new(), uploads().await);
    let inner = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let client = ServiceBuilder::new().layer(SignLayer::new(signer())).service(inner.clone());
    let request = |digest: Option<String>| {
        let chunks = std::fs::read(&file.0).unwrap().chunks(64 * 1024).map(Bytes::copy_from_slice).collect::<Vec<_>>();
        let chunks = futures_util::stream::iter(chunks.into_iter().map(Ok::<_, std::io::Error>));
        let request = inner.put(&url).body(reqwest::Body::wrap_stream(chunks));
        match digest {
            Some(digest) => request.header("x-content-sha256", digest).build().unwrap(),
            None => request.build().unwrap(),
        }
    };
    let digest = file.digest().to_string();
    assert_eq!(client.clone().oneshot(request(Some(digest.clone()))).await.unwrap().status(), 503, "it was accepted");
    assert_eq!(client.clone().oneshot(request(Some(digest))).await.unwrap().status(), 200);
    let wrong = BodyDigest::of(b"another file").to_string();
    let rejected = client.clone().oneshot(request(Some(wrong))).await;
    assert!(rejected.is_ok_and(|response| response.status() == 401));
    assert!(client.clone().oneshot(request(None)).await.unwrap_err().to_string().contains("x-content-sha256"));
    assert!(client.oneshot(request(Some("no digest".into()))).await.unwrap_err().to_string().contains("malformed"));
}

/// The example in the documentation of `sign_reqwest`.
#[tokio::test]
async fn reqwest_multipart_form_is_signed_as_bytes() {
    let address = server(Scheme::new()).await;
    let form = Form::new().text("symbol", "BTC").part("file", Part::bytes(&b"\x00\xff"[..]).file_name("a b.bin"));
    let content_type = format!("multipart/form-data; boundary={}", form.boundary());
    let body: Vec<u8> = form.into_stream().map_ok(Vec::from).try_concat().await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(format!("http://{address}/files")).header("content-type", content_type).body(body);
    let request = signer().sign_reqwest(request.build().unwrap()).unwrap();
    let response = client.execute(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let text = response.text().await.unwrap();
    assert!(text.contains("name=\"symbol\"") && text.contains("BTC") && text.contains("a b.bin"), "{text}");
    let streaming = client.post(format!("http://{address}/files")).multipart(Form::new().text("symbol", "BTC"));
    assert!(signer().sign_reqwest(streaming.build().unwrap()).unwrap_err().to_string().contains("streams"));
}
