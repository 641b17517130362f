//! Streamed bodies: they are forwarded during verification, and the service never gets the end of an invalid one.

use std::{
    convert::Infallible,
    error::Error,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, extract::State, routing::post as on_post};
use bytes::Bytes;
use countersign::{
    BodyDigest, Caller, Limits, Payload, RejectionKind, StaticKeys, Verifier, VerifyLayer,
    server::{BodyError, ServiceBody, UnverifiedBody},
};
use futures_util::FutureExt;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, Channel, Full, StreamBody, channel::Sender, combinators::UnsyncBoxBody};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tower::{Layer, ServiceExt, service_fn};

use crate::rig::{self, NOW, form, get, signed, verifier};

fn streaming() -> Verifier<StaticKeys> {
    streaming_up_to(1000)
}

fn streaming_up_to(limit: u64) -> Verifier<StaticKeys> {
    verifier().0.with_limits(Limits::new().with_body(limit)).with_streamed_bodies()
}

/// A request signed for the body `signed` that carries the given body.
fn upload<B>(signed: &str, body: B) -> Request<UnverifiedBody>
where
    B: http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let (mut parts, ()) = Request::put("/files/1").body(()).unwrap().into_parts();
    let payload = Payload::Digest(BodyDigest::of(signed.as_bytes()));
    rig::signer().sign_at(&mut parts, payload, NOW.try_into().unwrap(), rig::fresh_nonce()).unwrap();
    Request::from_parts(parts, UnverifiedBody::new(body))
}

fn frames<const N: usize>(data: [&'static str; N]) -> impl http_body::Body<Data = Bytes, Error = Infallible> + Send {
    StreamBody::new(futures_util::stream::iter(data.map(|data| Ok(Frame::data(Bytes::from(data))))))
}

/// The frames that the service gets. An error is shown as `!` with its code.
async fn read_all(request: Request<ServiceBody>) -> Vec<String> {
    let mut body = request.into_body();
    let mut read_all = Vec::new();
    while let Some(frame) = body.frame().await {
        read_all.push(match frame {
            Ok(frame) => String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap(),
            Err(error) => format!("!{}", error.rejection().kind().code()),
        });
    }
    assert!(body.is_end_stream());
    assert_eq!(body.size_hint().exact(), Some(0));
    read_all
}

async fn read_all_of<B>(signed: &str, body: B) -> Vec<String>
where
    B: http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    read_all(streaming().verify(upload(signed, body)).await.unwrap()).await
}

fn next(body: &mut ServiceBody) -> Option<String> {
    let frame = body.frame().now_or_never()?.unwrap().unwrap();
    Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
}

async fn send(sender: &mut Sender<Bytes, Infallible>, data: &'static str) {
    sender.send_data(Bytes::from(data)).await.unwrap();
}

#[tokio::test]
async fn frame_is_delivered_when_the_next_arrives() {
    let (mut sender, body) = Channel::new(1);
    let request = streaming().verify(upload("onetwothree", body)).await.unwrap();
    assert_eq!(request.extensions().get::<Caller>().unwrap().app_id().as_str(), "demo");
    let mut body = request.into_body();
    assert_eq!(next(&mut body), None);
    send(&mut sender, "one").await;
    assert_eq!(next(&mut body), None, "the frame may be the last one");
    assert_eq!(body.size_hint().lower(), 3);
    send(&mut sender, "two").await;
    assert_eq!(next(&mut body).unwrap(), "one");
    send(&mut sender, "three").await;
    assert_eq!(next(&mut body).unwrap(), "two");
    assert_eq!(next(&mut body), None);
    assert!(!body.is_end_stream());
    drop(sender);
    assert_eq!(next(&mut body).unwrap(), "three");
    assert!(body.is_end_stream());
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn error_replaces_the_last_frame_on_mismatch() {
    assert_eq!(read_all_of("onetwo", frames(["one", "two"])).await, ["one", "two"]);
    assert_eq!(read_all_of("onetwo", frames(["one", "TWO"])).await, ["one", "!body_mismatch"]);
    assert_eq!(read_all_of("onetwo", frames(["one"])).await, ["!body_mismatch"]);
    assert_eq!(read_all_of("onetwo", frames(["one", "two", "three"])).await, ["one", "two", "!body_mismatch"]);
    assert_eq!(read_all_of("onetwo", frames([])).await, ["!body_mismatch"]);
    assert_eq!(read_all_of("", frames([])).await, [""; 0]);
    assert_eq!(read_all_of("", frames(["one"])).await, ["!body_mismatch"]);
}

#[tokio::test]
async fn trailing_frames_do_not_release_the_last_frame() {
    let trailers = HeaderMap::from_iter([(http::HeaderName::from_static("x-token"), "evil".parse().unwrap())]);
    let end = |text: &'static str| {
        let data = |text: &'static str| Ok(Frame::data(Bytes::from(text)));
        let frames = [data("one"), data(text), data(""), data(""), Ok(Frame::trailers(trailers.clone())), data("")];
        StreamBody::new(futures_util::stream::iter(frames))
    };
    assert_eq!(read_all_of("onetwo", end("two")).await, ["one", "two"], "trailers are dropped");
    assert_eq!(read_all_of("onetwo", end("TWO")).await, ["one", "!body_mismatch"]);
}

#[tokio::test]
async fn truncated_body_is_malformed_and_withheld() {
    let broken = [Ok(Frame::data(Bytes::from("one"))), Ok(Frame::data(Bytes::from("two"))), Err("reset")];
    let body = StreamBody::new(futures_util::stream::iter(broken));
    let request = upload("onetwo", Full::default()).map(|_| UnverifiedBody::new(body));
    let request = streaming().verify(request).await.unwrap();
    assert_eq!(read_all(request).await, ["one", "!malformed_field"]);
}

#[tokio::test]
async fn streamed_body_beyond_the_limit_is_rejected() {
    let verify = async |limit, body| streaming_up_to(limit).verify(upload("onetwo", body)).await;
    assert_eq!(read_all(verify(6, frames(["one", "two"])).await.unwrap()).await, ["one", "two"]);
    assert_eq!(read_all(verify(5, frames(["one", "two"])).await.unwrap()).await, ["!body_too_large"]);
    let known = streaming_up_to(5).verify(upload("onetwo", Full::from("onetwo"))).await;
    assert_eq!(known.unwrap_err().kind(), RejectionKind::BodyTooLarge, "its length is known in advance");
    let mut declared = upload("onetwo", frames(["one", "two"]));
    declared.headers_mut().insert("content-length", 6.into());
    assert_eq!(streaming_up_to(5).verify(declared).await.unwrap_err().kind(), RejectionKind::BodyTooLarge);
}

/// A service that forwards three declared bytes stops after the third byte.
#[tokio::test]
async fn excess_bytes_are_malformed() {
    fn with_length<B>(length: u64, signed: &str, body: B) -> Request<UnverifiedBody>
    where
        B: http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
    {
        let mut request = upload(signed, body);
        request.headers_mut().insert("content-length", length.into());
        request
    }
    let verify = async |request| read_all(streaming().verify(request).await.unwrap()).await;
    assert_eq!(verify(with_length(3, "onetwo", frames(["one", "two"]))).await, ["!malformed_field"]);
    assert_eq!(verify(with_length(3, "one", frames(["one", ""]))).await, ["one"]);

    /// Reports a length of three bytes, but has six.
    struct WrongSizeHint(UnsyncBoxBody<Bytes, Infallible>);
    impl http_body::Body for WrongSizeHint {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            std::pin::Pin::new(&mut self.0).poll_frame(context)
        }
        fn size_hint(&self) -> http_body::SizeHint {
            http_body::SizeHint::with_exact(3)
        }
    }
    let wrong_size_hint = || WrongSizeHint(frames(["one", "two"]).boxed_unsync());
    assert_eq!(verify(upload("onetwo", wrong_size_hint())).await, ["!malformed_field"]);
    assert_eq!(
        verify(with_length(6, "onetwo", wrong_size_hint())).await,
        ["!malformed_field"],
        "the smaller length applies"
    );
}

/// A service must read to the end of the body before it acts on it.
#[tokio::test]
async fn early_parser_can_see_unsigned_bytes() {
    let forged = frames(["{\"to\":\"eve\"}", "junk"]);
    let mut body = streaming().verify(upload("{\"to\":\"bob\"}", forged)).await.unwrap().into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "{\"to\":\"eve\"}", "a complete value that was not signed");
    assert!(!body.is_end_stream());
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(error.rejection().kind(), RejectionKind::BodyMismatch);
    assert_eq!(error.to_string(), "the request's body was refused before its end");
    assert_eq!(error.source().unwrap().to_string(), error.rejection().to_string(), "the source is the rejection");
}

#[tokio::test]
async fn body_shorter_than_declared_is_malformed() {
    let mut request = upload("onetwo", frames(["one"]));
    request.headers_mut().insert("content-length", 6.into());
    assert_eq!(read_all(streaming().verify(request).await.unwrap()).await, ["!malformed_field"]);
}

#[tokio::test]
async fn declared_length_is_forwarded() {
    let mut request = upload("onetwo", Full::from("onetwo"));
    request.headers_mut().insert("content-length", 6.into());
    let mut request = streaming().verify(request).await.unwrap();
    assert_eq!(request.headers()["content-length"], "6");
    assert_eq!(request.body().size_hint().exact(), Some(6));
    assert!(!request.body().is_end_stream());
    assert_eq!(request.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), "onetwo");
    let unknown = streaming().verify(upload("onetwo", frames(["one", "two"]))).await.unwrap();
    assert_eq!(unknown.body().size_hint().exact(), None);
}

/// A buffer that is counted as long as a frame of it is alive.
struct Counted(Arc<AtomicUsize>);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        b"sixteen bytes..."
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn memory_holds_one_frame_of_a_thousand() {
    let live = Arc::new(AtomicUsize::new(0));
    let counter = live.clone();
    let data = std::iter::repeat_with(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(Frame::data(Bytes::from_owner(Counted(counter.clone()))))
    });
    let body = StreamBody::new(futures_util::stream::iter(data.take(1000)));
    let text = "sixteen bytes...".repeat(1000);
    let mut body = streaming_up_to(16_000).verify(upload(&text, body)).await.unwrap().into_body();
    let mut count = 0;
    while let Some(frame) = body.frame().await {
        // The frame that the service has, and the frame that is withheld.
        assert!(live.load(Ordering::Relaxed) <= 2);
        drop(frame.unwrap());
        count += 1;
    }
    assert_eq!(count, 1000);
    assert_eq!(live.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn forms_and_empty_bodies_are_checked_first() {
    assert_eq!(rig::code(&streaming(), form("/", "a=1")).await, "unsigned");
    let mut wrong_form = signed(form("/", "a=1&b="));
    *wrong_form.body_mut() = "a=1&b=&c=";
    assert_eq!(rig::code(&streaming(), wrong_form).await, "body_mismatch");
    assert_eq!(rig::code(&streaming(), signed(get("/"))).await, "accepted");
    let mut undigested = signed(get("/"));
    *undigested.body_mut() = "bytes";
    assert_eq!(rig::code(&streaming(), undigested).await, "missing_field");
    let empty = upload("one", Full::from(""));
    assert_eq!(streaming().verify(empty).await.unwrap_err().kind(), RejectionKind::BodyMismatch);
}

#[tokio::test]
async fn caller_gets_the_rejection_despite_the_service() {
    async fn ignores_the_error(request: Request<ServiceBody>) -> Result<Response<Full<Bytes>>, BodyError> {
        let _ = request.into_body().collect().await;
        Ok(Response::new(Full::from("stored")))
    }
    async fn fails(request: Request<ServiceBody>) -> Result<Response<Full<Bytes>>, BodyError> {
        request.into_body().collect().await?;
        Ok(Response::new(Full::from("stored")))
    }
    let layer = || VerifyLayer::from(streaming());
    for wrong in ["onetwo", "one"] {
        for answer in [
            layer().layer(service_fn(ignores_the_error)).oneshot(upload(wrong, frames(["one", "TWO"]))).await.unwrap(),
            layer().layer(service_fn(fails)).oneshot(upload(wrong, frames(["one", "TWO"]))).await.unwrap(),
        ] {
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
            assert_eq!(answer.extensions().get().map(countersign::Rejection::kind), Some(RejectionKind::BodyMismatch));
            let text = rig::bytes(answer.into_body()).await;
            assert!(text.windows(13).any(|window| window == b"body_mismatch"), "{text:?}");
        }
    }
    let valid = layer().layer(service_fn(fails)).oneshot(upload("onetwo", frames(["one", "two"]))).await.unwrap();
    assert_eq!(rig::bytes(valid.into_body()).await, "stored");
}

/// A server that reports each body that it receives, or an error for an incomplete one.
async fn upstream() -> (SocketAddr, mpsc::UnboundedReceiver<Result<Bytes, ()>>) {
    let (sender, received) = mpsc::unbounded_channel();
    async fn receive(State(sender): State<mpsc::UnboundedSender<Result<Bytes, ()>>>, body: Body) {
        let body = body.collect().await.map(|body| body.to_bytes()).map_err(|_| ());
        sender.send(body).unwrap();
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().fallback(receive).with_state(sender);
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, received)
}

/// Verifies and forwards requests, with the declared length or without one.
async fn proxy(upstream: SocketAddr) -> SocketAddr {
    async fn forward(State(upstream): State<SocketAddr>, mut request: Request<Body>) -> Response<Body> {
        *request.uri_mut() = format!("http://{upstream}/").parse().unwrap();
        let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
        match client.request(request).await {
            Ok(response) => response.map(Body::new),
            Err(_) => Response::builder().status(502).body(Body::empty()).unwrap(),
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let layer = Verifier::new(rig::keys()).with_streamed_bodies().into_layer();
    let app = Router::new().route("/files/1", on_post(forward)).with_state(upstream).layer(layer);
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// Sends a head signed for `signed` and the body in two parts. Returns the status.
async fn send_in_two_parts(proxy: SocketAddr, signed: &[u8], parts: [&[u8]; 2], chunked: bool) -> String {
    let (mut head, ()) = Request::post("/files/1").body(()).unwrap().into_parts();
    rig::signer().sign_parts(&mut head, Payload::Digest(BodyDigest::of(signed))).unwrap();
    let mut text = format!("POST /files/1 HTTP/1.1\r\nhost: {proxy}\r\nconnection: close\r\n");
    for (name, value) in &head.headers {
        text.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
    }
    let length = parts[0].len() + parts[1].len();
    match chunked {
        true => text.push_str("transfer-encoding: chunked\r\n\r\n"),
        false => text.push_str(&format!("content-length: {length}\r\n\r\n")),
    }
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    for part in parts {
        match chunked {
            true => {
                stream.write_all(format!("{:x}\r\n", part.len()).as_bytes()).await.unwrap();
                stream.write_all(part).await.unwrap();
                stream.write_all(b"\r\n").await.unwrap();
            }
            false => stream.write_all(part).await.unwrap(),
        }
        tokio::task::yield_now().await;
    }
    if chunked {
        stream.write_all(b"0\r\n\r\n").await.unwrap();
    }
    let mut answer = String::new();
    let reading = stream.read_to_string(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(10), reading).await.expect("a response in time");
    answer.split(' ').nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn forwarded_wrong_body_is_never_completed() {
    let (upstream, mut received) = upstream().await;
    let proxy = proxy(upstream).await;
    let whole = vec![b'a'; 300_000];
    let (first, last) = whole.split_at(299_000);
    let mut wrong = last.to_vec();
    wrong[999] = b'b';
    for chunked in [false, true] {
        assert_eq!(send_in_two_parts(proxy, &whole, [first, last], chunked).await, "200");
        let body = tokio::time::timeout(Duration::from_secs(10), received.recv()).await.unwrap().unwrap();
        assert_eq!(body.unwrap(), whole);

        assert_eq!(send_in_two_parts(proxy, &whole, [first, &wrong], chunked).await, "401");
        let body = tokio::time::timeout(Duration::from_secs(10), received.recv()).await.unwrap().unwrap();
        assert_eq!(body, Err(()), "chunked: {chunked}");
    }
}
