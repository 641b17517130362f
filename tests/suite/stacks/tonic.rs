//! gRPC: tonic's server behind the verifier, and its client above the signing layer.

use std::{convert::Infallible, error::Error as _, net::SocketAddr, task};

use ::tonic::{
    Code, Request, Response, Status, Streaming,
    body::Body,
    client::{Grpc, GrpcService},
    server::NamedService,
    transport::{Channel, Server, server::TcpIncoming},
};
use ::tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use ::tonic_prost::ProstCodec;
use bytes::Bytes;
use countersign::{
    Caller, Field, FieldLocation, Limits, Scheme, Secret, SendError, SignLayer, Signer, StaticKeys, Verifier,
    VerifyLayer,
    client::Sign,
    clock::ManualClock,
    server::{GrpcRejections, RenderRejection, UnverifiedBody},
    store::NonceStore,
};
use futures_util::{StreamExt, TryStreamExt, future::BoxFuture, stream};
use http::{HeaderName, uri::PathAndQuery};
use http_body_util::Full;
use tokio::net::TcpListener;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_http::map_request_body::{MapRequestBody, MapRequestBodyLayer};

use crate::{
    replay::FailingStore,
    rig::{self, NOW, get, keys, signed, signer, signer_of, verifier},
};

const SAY: &str = "/test.Echo/Say";
const SPELL: &str = "/test.Echo/Spell";
const JOIN: &str = "/test.Echo/Join";

type Codec = ProstCodec<String, String>;
type Answer<T> = Result<Response<T>, Status>;

/// A handwritten equivalent of a service generated from a .proto file.
#[derive(Clone)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), Infallible>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(Codec::default());
            Ok(match request.uri().path() {
                SAY => grpc.unary(service_fn(say), request).await,
                SPELL => grpc.server_streaming(service_fn(spell), request).await,
                _ => grpc.client_streaming(service_fn(join), request).await,
            })
        })
    }
}

async fn say(request: Request<String>) -> Answer<String> {
    let app = request.extensions().get::<Caller>().unwrap().app_id().clone();
    let header = |name| request.metadata().get(name).unwrap().to_str().unwrap();
    let (te, content_type) = (header("te"), header("content-type"));
    Ok(Response::new(format!("{app} says {} by {te} and {content_type}", request.get_ref())))
}

async fn spell(request: Request<String>) -> Answer<stream::BoxStream<'static, Result<String, Status>>> {
    let letters: Vec<_> = request.into_inner().chars().map(|letter| Ok(letter.to_string())).collect();
    Ok(Response::new(stream::iter(letters).boxed()))
}

async fn join(request: Request<Streaming<String>>) -> Answer<String> {
    let words: Vec<_> = request.into_inner().try_collect().await?;
    Ok(Response::new(words.join(" ")))
}

/// Serves the service over TCP behind this layer.
async fn serve<N: NonceStore, R: RenderRejection>(layer: VerifyLayer<StaticKeys, N, R>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder().layer(MapRequestBodyLayer::new(UnverifiedBody::new)).layer(layer).add_service(Echo);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    address
}

/// Serves it behind this verifier, with gRPC rejections.
async fn serve_behind<N: NonceStore>(verifier: Verifier<StaticKeys, N>) -> SocketAddr {
    serve(verifier.into_layer().with_renderer(GrpcRejections::new())).await
}

fn channel(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

type Signing = Sign<MapRequestBody<Channel, fn(countersign::client::SignedBody) -> Body>>;

fn signing(address: SocketAddr, signer: Signer) -> Signing {
    ServiceBuilder::new()
        .layer(SignLayer::new(signer))
        .layer(MapRequestBodyLayer::new(Body::new as fn(countersign::client::SignedBody) -> Body))
        .service(channel(address))
}

/// Calls `Say` with this text and returns the answer.
async fn call_say<S, B>(client: S, text: impl Into<String>) -> Result<String, Status>
where
    S: GrpcService<Body, ResponseBody = B>,
    B: http_body::Body<Data = Bytes, Error: Into<tonic::codegen::StdError>> + Send + 'static,
{
    call_say_with(Grpc::new(client), text).await
}

async fn call_say_with<S, B>(mut grpc: Grpc<S>, text: impl Into<String>) -> Result<String, Status>
where
    S: GrpcService<Body, ResponseBody = B>,
    B: http_body::Body<Data = Bytes, Error: Into<tonic::codegen::StdError>> + Send + 'static,
{
    grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let answer = grpc.unary(Request::new(text.into()), PathAndQuery::from_static(SAY), Codec::default()).await;
    answer.map(Response::into_inner)
}

fn forger() -> Signer {
    Signer::new("demo".parse().unwrap(), Secret::new("wrong-key-wrong-key").unwrap())
}

#[tokio::test]
async fn signed_call_is_accepted() {
    let address = serve_behind(Verifier::new(keys())).await;
    let answer = call_say(signing(address, signer()), "hello").await.unwrap();
    assert_eq!(answer, "demo says hello by trailers and application/grpc");
}

#[tokio::test]
async fn unsigned_call_is_unauthenticated() {
    let address = serve_behind(Verifier::new(keys())).await;
    let status = call_say(channel(address), "hello").await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    assert!(status.message().starts_with("unsigned: the request is not signed: "), "{status}");
}

#[tokio::test]
async fn call_signed_with_another_key_is_unauthenticated() {
    let address = serve_behind(Verifier::new(keys())).await;
    let status = call_say(signing(address, forger()), "hello").await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    assert!(status.message().starts_with("invalid_signature: "), "{status}");
    assert!(status.metadata().get("www-authenticate").is_none(), "the header belongs to a 401");
    assert_eq!(status.metadata().get("cache-control").unwrap(), "no-store");
    assert_eq!(status.metadata().get("x-error-code").unwrap(), "invalid_signature");
}

#[tokio::test]
async fn stale_call_gets_the_server_time() {
    let address = serve_behind(Verifier::new(keys()).with_clock(ManualClock::at(NOW))).await;
    let status = call_say(signing(address, signer()), "hello").await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    assert!(status.message().starts_with("stale_timestamp: "), "{status}");
    assert_eq!(status.metadata().get("x-server-time").unwrap(), &*NOW.to_string());
}

#[tokio::test]
async fn replayed_call_is_unauthenticated() {
    let address = serve_behind(Verifier::new(keys())).await;
    let twice = service_fn(move |request: http::Request<countersign::client::SignedBody>| async move {
        let channel = channel(address);
        let (parts, body) = request.into_parts();
        let request = |body| http::Request::from_parts(parts.clone(), Body::new(body));
        let first = channel.clone().oneshot(request(body.try_clone().unwrap())).await?;
        assert!(!first.headers().contains_key("grpc-status"), "the first call was accepted");
        channel.oneshot(request(body)).await
    });
    let client = SignLayer::new(signer()).layer(twice);
    let status = call_say(client, "hello").await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    assert!(status.message().starts_with("replayed_nonce: "), "{status}");
}

#[tokio::test]
async fn failed_store_is_unavailable_with_retry_after() {
    let address = serve_behind(Verifier::new(keys()).with_nonces(FailingStore)).await;
    let status = call_say(signing(address, signer()), "hello").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert_eq!(status.metadata().get("retry-after").unwrap(), "1");
    assert!(!format!("{status:?}").contains("10.1.2.3"), "callers must not see the cause: {status:?}");
}

#[tokio::test]
async fn too_large_message_is_resource_exhausted() {
    let small = Limits::new().with_body(1024);
    let address = serve_behind(Verifier::new(keys()).with_limits(small)).await;
    // The larger message exceeds the flow-control window of the connection.
    for length in [1024, 1024 * 1024] {
        let status = call_say(signing(address, signer()), "x".repeat(length)).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(status.message().starts_with("body_too_large: "), "{status}");
    }
    assert!(call_say(signing(address, signer()), "x".repeat(1000)).await.is_ok());
}

#[tokio::test]
async fn problem_json_is_an_internal_error_in_grpc() {
    let address = serve(VerifyLayer::new(keys())).await;
    let rejected = [call_say(channel(address), "hello").await, call_say(signing(address, forger()), "hello").await];
    for status in rejected.map(Result::unwrap_err) {
        assert_eq!(status.code(), Code::Internal, "tonic parsed the problem document as a message: {status}");
        assert!(!status.message().contains("unsigned") && !status.message().contains("invalid_signature"));
    }
}

#[tokio::test]
async fn rejection_is_headers_only() {
    let (verifier, _) = verifier();
    let service = verifier
        .with_limits(Limits::new().with_query(8))
        .into_layer()
        .with_renderer(GrpcRejections::new())
        .layer(service_fn(|_| async { Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::new()))) }));
    let verified_above = rig::verify(&rig::verifier().0, signed(get("/"))).await.unwrap().map(UnverifiedBody::new);
    let requests = [
        (rig::incoming(get("/")), "16", "unsigned: "),
        (rig::incoming(get("/?a=1&b=2&c=3")), "3", "query_too_long: "),
        (verified_above, "13", "misconfigured: "),
    ];
    for (request, status, code) in requests {
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/grpc");
        assert_eq!(response.headers()["grpc-status"], status);
        assert!(response.headers()["grpc-message"].to_str().unwrap().starts_with(code));
        assert!(http_body::Body::is_end_stream(response.body()), "the headers end the stream");
    }
}

#[tokio::test]
async fn grpc_message_is_percent_encoded() {
    let name = "100% ключ\n~";
    let scheme =
        Scheme::new().with_field_location(FieldLocation::Query).with_parameter_name(Field::AppId, name).unwrap();
    let rejection = rig::verify(&verifier().0.with_scheme(scheme.clone()), get("/")).await.unwrap_err();
    assert!(rejection.detail().contains(name), "{rejection}");
    let response = GrpcRejections::new().render(&rejection);
    let message = response.headers()["grpc-message"].to_str().unwrap();
    assert!(message.contains(" 100%25 %D0%BA%D0%BB%D1%8E%D1%87%0A~, "), "{message}");

    let address = serve_behind(Verifier::new(keys()).with_scheme(scheme)).await;
    let status = call_say(channel(address), "hello").await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, &*rejection.to_string()));
}

#[tokio::test]
async fn signed_host_is_the_clients_origin() {
    let scheme = Scheme::new().with_signed_headers([HeaderName::from_static("host")]).unwrap();
    let address = serve_behind(Verifier::new(keys()).with_scheme(scheme.clone())).await;
    let client = signing(address, signer_of(scheme));
    // The channel sets the authority below the signing layer, so the gRPC client needs the same origin.
    let origin = format!("http://{address}").parse().unwrap();
    assert!(call_say_with(Grpc::with_origin(client.clone(), origin), "hello").await.is_ok());
    let other = "http://example.com".parse().unwrap();
    let status = call_say_with(Grpc::with_origin(client.clone(), other), "hello").await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    let status = call_say(client, "hello").await.unwrap_err();
    assert!(status.source().unwrap().is::<SendError>(), "without an origin the call is not sent: {status}");
}

#[tokio::test]
async fn health_check_can_bypass_verification() {
    let (_reporter, health) = tonic_health::server::health_reporter();
    let verifier = Verifier::new(keys()).with_insecure_bypass(|_, uri| uri.path() == "/grpc.health.v1.Health/Check");
    let layer = verifier.into_layer().with_renderer(GrpcRejections::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = Server::builder().layer(MapRequestBodyLayer::new(UnverifiedBody::new)).layer(layer);
    tokio::spawn(server.add_service(health).add_service(Echo).serve_with_incoming(TcpIncoming::from(listener)));

    let mut client = HealthClient::new(channel(address));
    let answer = client.check(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(answer.status(), ServingStatus::Serving);
    let status = client.watch(HealthCheckRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "only Check bypasses verification: {status}");
    assert!(call_say(channel(address), "hello").await.is_err());
    assert!(call_say(signing(address, signer()), "hello").await.is_ok());
}

#[tokio::test]
async fn server_streaming_call_is_accepted() {
    let address = serve_behind(Verifier::new(keys())).await;
    let mut grpc = Grpc::new(signing(address, signer()));
    grpc.ready().await.unwrap();
    let request = Request::new("abc".to_owned());
    let answers = grpc.server_streaming(request, PathAndQuery::from_static(SPELL), Codec::default()).await.unwrap();
    assert_eq!(answers.into_inner().try_collect::<Vec<_>>().await.unwrap(), ["a", "b", "c"]);
}

#[tokio::test]
async fn client_streaming_call_is_accepted() {
    let address = serve_behind(Verifier::new(keys())).await;
    let mut grpc = Grpc::new(signing(address, signer()));
    for words in [&["one", "two", "three"][..], &[]] {
        grpc.ready().await.unwrap();
        let request = Request::new(stream::iter(words.iter().map(|&word| word.to_owned())));
        let answer = grpc.client_streaming(request, PathAndQuery::from_static(JOIN), Codec::default()).await;
        assert_eq!(answer.unwrap().into_inner(), words.join(" "));
    }
}
