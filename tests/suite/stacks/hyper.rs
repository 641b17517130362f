//! Plain hyper: the layer accepts hyper's incoming body without an adapter.

use std::net::SocketAddr;

use bytes::Bytes;
use countersign::Verifier;
use futures_util::stream;
use http::Request;
use http_body::{Body, Frame};
use http_body_util::{Full, StreamBody};
use hyper::server::conn::http1;
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use tower::{Layer, service_fn};

use super::streaming_service;
use crate::rig::{self, keys};

async fn serve() -> SocketAddr {
    let verifier = Verifier::new(keys()).with_insecure_bypass(|_, uri| uri.path() == "/open");
    let service = verifier.into_layer().layer(service_fn(streaming_service));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

async fn send<B>(request: Request<B>) -> (u16, Bytes)
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + Unpin + 'static,
{
    let response = Client::builder(TokioExecutor::new()).build_http().request(request).await.unwrap();
    (response.status().as_u16(), rig::bytes(response.into_body()).await)
}

#[tokio::test]
async fn layer_works_with_hypers_incoming_body() {
    let target = format!("http://{}/p?a=1", serve().await);
    let request = || Request::post(&target).body(Bytes::from("four")).unwrap();
    let signed = || rig::signer().sign(request()).unwrap();
    assert_eq!(send(signed().map(Full::new)).await, (200, "4 bytes".into()));
    assert_eq!(send(request().map(Full::new)).await.0, 401);
    let head = Request::head(&target).body(Full::new(Bytes::new())).unwrap();
    let rejected = Client::builder(TokioExecutor::new()).build_http().request(head).await.unwrap();
    assert_eq!((rejected.status().as_u16(), &rejected.headers()["x-error-code"]), (401, &"unsigned".parse().unwrap()));
    assert_eq!(rejected.headers()["www-authenticate"], "CS1-HMAC-SHA256 error=\"unsigned\"");
    assert_eq!(rig::bytes(rejected.into_body()).await, "", "a response to HEAD has no body");
    let mut moved = signed();
    *moved.uri_mut() = target.replace("a=1", "a=2").parse().unwrap();
    assert_eq!(send(moved.map(Full::new)).await.0, 401);
}

#[tokio::test]
async fn bypassed_request_keeps_its_body() {
    let target = format!("http://{}/open", serve().await);
    let request = Request::post(&target).body(Full::new(Bytes::from("four"))).unwrap();
    assert_eq!(send(request).await, (200, "4 bytes".into()));
}

#[tokio::test]
async fn chunk_boundaries_are_not_signed() {
    let target = format!("http://{}/", serve().await);
    let in_chunks = |chunks: [&'static str; 2]| {
        let signed = rig::signer().sign(Request::post(&target).body("four").unwrap()).unwrap();
        let frames = chunks.map(|chunk| Ok::<_, std::io::Error>(Frame::data(Bytes::from(chunk))));
        signed.map(|_| StreamBody::new(stream::iter(frames)))
    };
    assert_eq!(send(in_chunks(["fo", "ur"])).await, (200, "4 bytes".into()));
    assert_eq!(send(in_chunks(["f", "our"])).await, (200, "4 bytes".into()));
    assert_eq!(send(in_chunks(["four", "!"])).await.0, 401);
}
