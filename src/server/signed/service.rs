//! The service that `SignResponsesLayer` makes.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header, response::Parts};
use http_body::Body;
use tower_service::Service;

use super::{
    body, conditions,
    slot::{ResponseSigner, ResponseSlot},
};
use crate::{
    event::{self, catch_panics},
    middleware::{inner_accessors, take_ready},
    protocol::{BoxError, Payload, RESPONSE_SIGNATURE, Rejection, SignError, Timestamp},
    server::{
        layer::ResponseFuture,
        response::{caching::forbid_transformation, renderer::ResponseBody},
    },
};

/// Signs the responses of the inner service. [`SignResponsesLayer`](crate::SignResponsesLayer) makes it.
#[derive(Clone, Debug)]
#[must_use = "services do nothing unless they are called"]
pub struct SignResponses<S> {
    inner: S,
    max_body: u64,
}

impl<S> SignResponses<S> {
    pub(super) fn new(inner: S, max_body: u64) -> Self {
        Self { inner, max_body }
    }

    inner_accessors!();
}

impl<S, B, ResBody> Service<Request<B>> for SignResponses<S>
where
    S: Service<Request<B>, Response = Response<ResBody>, Future: Send> + Clone + Send + 'static,
    B: Send + 'static,
    ResBody: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<Self::Response, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let mut inner = take_ready(&mut self.inner);
        let max_body = self.max_body;
        let slot = ResponseSlot::new();
        request.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        request.extensions_mut().insert(slot.clone());
        ResponseFuture::new(async move {
            let mut response = inner.call(request).await?;
            // The signature of another service, which a gateway may pass on, is not that of this response.
            for name in RESPONSE_SIGNATURE {
                response.headers_mut().remove(name);
            }
            match slot.take() {
                Some(signer) => Ok(sign(&signer, response, max_body).await),
                None => Ok(response.map(ResponseBody::of_service)),
            }
        })
    }
}

/// Signs a response. If it cannot be signed, signs a refusal in its place.
async fn sign<B>(signer: &ResponseSigner, response: Response<B>, max_body: u64) -> Response<ResponseBody<B>>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let rejection = match try_sign(signer, response, max_body).await {
        Ok(response) => return response,
        Err(rejection) => rejection,
    };
    catch_panics(|| event::misconfigured(&rejection));
    let for_caller = conditions::for_caller();
    let (mut parts, body) = for_caller.to_response().into_parts();
    forbid_transformation(&mut parts.headers);
    parts.extensions.insert(for_caller);
    if let Some(now) = signer.now() {
        // It has one well-formed content type, so this cannot fail.
        let _ = write_signature(signer, &mut parts, &body, now);
    }
    Response::from_parts(parts, ResponseBody::of_bytes(body))
}

async fn try_sign<B>(
    signer: &ResponseSigner,
    response: Response<B>,
    max_body: u64,
) -> Result<Response<ResponseBody<B>>, Rejection>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    conditions::check_head(response.headers())?;
    let (mut parts, body) = response.into_parts();
    forbid_transformation(&mut parts.headers);
    let (bytes, body) = match signer.sent.has_body(parts.status) {
        true => {
            let bytes = body::read(body, max_body).await?;
            (bytes.clone(), ResponseBody::of_bytes(bytes))
        }
        // The server sends no byte of it. After a 101, the extensions have the upgrade.
        false => (Bytes::new(), ResponseBody::of_service(body)),
    };
    let now = signer.now().ok_or_else(|| conditions::misconfigured("the verifier's clock is not a Unix time"))?;
    write_signature(signer, &mut parts, &bytes, now)
        .map_err(|error| conditions::misconfigured(error.to_string()).with_source(error))?;
    Ok(Response::from_parts(parts, body))
}

fn write_signature(
    ResponseSigner { signer, sent, .. }: &ResponseSigner,
    parts: &mut Parts,
    body: &[u8],
    now: Timestamp,
) -> Result<(), SignError> {
    signer.sign_response_at(sent, parts.status, &mut parts.headers, Payload::Bytes(body), now)
}
