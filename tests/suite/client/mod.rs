//! The client. A signed request arrives byte for byte as it was signed. Each attempt has its own nonce. Signatures are
//! sent only to the configured origins.

mod clock;
mod hyper;
mod origins;
mod redirect;
mod refusals;
mod reqwest;
mod retry;
mod signer;
mod uploads;
mod urls;
mod wire;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{Router, extract::State, middleware::Next};
use bytes::Bytes;
use countersign::{
    Scheme, SignLayer, Signer, StaticKeys, Verifier, VerifyLayer,
    client::{Sign, SignedBody},
};
use http::{HeaderMap, Uri};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::net::TcpListener;
use tower::ServiceBuilder;

use crate::rig;

/// hyper-util's client, without signing.
fn plain_client() -> Client<HttpConnector, SignedBody> {
    Client::builder(TokioExecutor::new()).build_http()
}

/// hyper-util's client under the signing layer.
fn client(signer: Signer) -> Sign<Client<HttpConnector, SignedBody>> {
    ServiceBuilder::new().layer(SignLayer::new(signer)).service(plain_client())
}

/// An axum service behind the verifier that returns the target and the body of the request.
async fn server(scheme: Scheme) -> SocketAddr {
    serve(Router::new().fallback(echo).layer(verify_layer(scheme))).await
}

/// Uses the system clock, because the clients sign with it.
fn verify_layer(scheme: Scheme) -> VerifyLayer<StaticKeys> {
    Verifier::new(rig::keys()).with_scheme(scheme).into_layer()
}

async fn echo(request: axum::extract::Request) -> String {
    let target = request.uri().to_string();
    format!("{target} {}", String::from_utf8_lossy(&rig::bytes(request.into_body()).await))
}

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// Records the requests that a server receives.
#[derive(Clone, Default)]
struct RequestLog(Arc<Mutex<Vec<(Uri, HeaderMap)>>>);

impl RequestLog {
    /// Records all requests to this app.
    fn recording(&self, app: Router) -> Router {
        app.layer(axum::middleware::from_fn_with_state(self.clone(), record_request))
    }

    fn all(&self) -> Vec<(Uri, HeaderMap)> {
        self.0.lock().unwrap().clone()
    }

    /// The values of one header, one entry per request.
    fn values_of(&self, name: &str) -> Vec<Option<String>> {
        let text = |headers: &HeaderMap| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        self.all().iter().map(|(_, headers)| text(headers)).collect()
    }
}

async fn record_request(
    State(log): State<RequestLog>,
    request: axum::extract::Request,
    next: Next,
) -> axum::response::Response {
    log.0.lock().unwrap().push((request.uri().clone(), request.headers().clone()));
    next.run(request).await
}

/// The status, with the error code of a rejection or the text of any other response.
async fn outcome<B>(response: http::Response<B>) -> (u16, String)
where
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let status = response.status().as_u16();
    let body = rig::bytes(response.into_body()).await;
    let code =
        serde_json::from_slice::<serde_json::Value>(&body).ok().and_then(|body| Some(body["code"].as_str()?.into()));
    (status, code.unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned()))
}
