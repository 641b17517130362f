//! Signed responses: a changed response is never accepted, only responses to requests past step 8 are signed, and the client
//! takes anything else for an unknown outcome.

mod client;
mod conditions;
mod examples;
mod lines;
mod steps;
mod wire;

use axum::{
    Router,
    body::Body,
    http::{Request, Response, StatusCode},
    routing::get,
};
use bytes::Bytes;
use countersign::{
    Payload, ResponseError, SentRequest, SignResponsesLayer, Signer, Timestamp, Verifier,
    store::{KeyStore, NonceStore},
};
use http::{HeaderMap, response::Parts};
use tower::ServiceExt;

use crate::rig::{self, NOW, signer};

/// A service that signs its responses.
fn signing<K: KeyStore, N: NonceStore>(verifier: Verifier<K, N>, service: Router) -> Router {
    let layer = SignResponsesLayer::new(verifier.scheme()).unwrap();
    service.layer(verifier.into_layer()).layer(layer)
}

/// A service with one route that responds with this.
fn responding(response: impl Fn() -> Response<Body> + Clone + Send + Sync + 'static) -> Router {
    Router::new().route("/", get(move || std::future::ready(response())).post(|body: Bytes| async { body }))
}

/// A response as a client gets it, and what the client has kept of its request.
struct Received {
    sent: SentRequest,
    parts: Parts,
    body: Bytes,
}

impl Received {
    fn check_with(&self, signer: &Signer) -> Result<(), ResponseError> {
        check(signer, &self.sent, self.parts.status, &self.parts.headers, &self.body)
    }

    fn check(&self) -> Result<(), ResponseError> {
        self.check_with(&signer())
    }

    fn is_signed(&self) -> bool {
        self.parts.headers.keys().any(|name| name.as_str().starts_with("x-response-"))
    }

    fn code(&self) -> &str {
        self.parts.headers.get("x-error-code").map_or("", |code| code.to_str().unwrap())
    }
}

fn check(
    signer: &Signer,
    sent: &SentRequest,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(), ResponseError> {
    signer.check_response_at(sent, status, headers, Payload::Bytes(body), Timestamp::try_from(NOW).unwrap())
}

/// Sends a signed request to a service.
async fn send<B: Into<Body> + AsRef<[u8]>>(service: &Router, request: Request<B>) -> Received {
    let (parts, body) = rig::signed(request).into_parts();
    send_signed(service, &signer(), Request::from_parts(parts, body)).await
}

/// Sends a request that this signer has signed.
async fn send_signed<B: Into<Body>>(service: &Router, signer: &Signer, request: Request<B>) -> Received {
    let (parts, body) = request.into_parts();
    let sent = signer.sent_request(&parts).unwrap();
    let request = Request::from_parts(parts, body.into());
    let (parts, body) = service.clone().oneshot(request).await.unwrap().into_parts();
    Received { sent, parts, body: rig::bytes(body).await }
}

/// Sends the request of [`rig::get`] to a service that responds with this.
async fn response_to_get(response: impl Fn() -> Response<Body> + Clone + Send + Sync + 'static) -> Received {
    send(&signing(rig::verifier().0, responding(response)), rig::get("/")).await
}
