//! Signs and sends an `http::Request`.

use std::{
    future::poll_fn,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, request::Parts, uri::Scheme};
use http_body::Body;
use tower_service::Service;

use super::{
    Refusal, ResponseBody, SendError,
    body::SignedBody,
    exchange::{Exchange, exchange},
    refusal,
    service::{BoxedResponse, Sealed, Sign, SignableRequest},
};
use crate::{
    collect::{CollectError, collect},
    middleware::take_ready,
    protocol::{BodyDigest, BoxError, Explanation, Nonce, Payload, SignError, SignErrorKind, Signer, Timestamp},
};

impl<B> Sealed for Request<B> {}

/// The response has a [`ResponseBody`], since the service reads refusals.
impl<S, B, R> SignableRequest<S> for Request<B>
where
    S: Service<Request<SignedBody>, Response = Response<R>, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    R: Body<Data = Bytes, Error: Send> + Unpin + Send + 'static,
{
    type Response = Response<ResponseBody<R>>;

    fn poll_ready(client: &mut S, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        client.poll_ready(context).map_err(Into::into)
    }

    fn send(self, service: &mut Sign<S>) -> BoxedResponse<Self::Response> {
        let mut inner = take_ready(&mut service.inner);
        let (signer, origins, max_body) = (service.signer.clone(), service.origins.clone(), service.max_body);
        let correction = service.correction.clone();
        Box::pin(async move {
            let (mut parts, body) = self.into_parts();
            if !origins.include(&parts.uri)? {
                signer.strip_signature(&mut parts)?;
                let response = inner.call(Request::from_parts(parts, SignedBody::streamed(body))).await;
                return response
                    .map(|response| response.map(ResponseBody::new))
                    .map_err(|e| SendError::Client(e.into()));
            }
            let body = match parts.extensions.remove::<BodyDigest>() {
                Some(digest) => Outgoing::Streamed(digest, Some(SignedBody::streamed(body))),
                None => Outgoing::Whole(read(body, max_body).await?),
            };
            exchange(HttpExchange { inner, is_ready: true, parts, body }, &signer, &correction).await
        })
    }
}

/// An `http::Request`. The head stays here while the response is awaited.
struct HttpExchange<S> {
    inner: S,
    is_ready: bool,
    parts: Parts,
    body: Outgoing,
}

enum Outgoing {
    Whole(Bytes),
    /// The digest, and the body until it is sent.
    Streamed(BodyDigest, Option<SignedBody>),
}

impl<S, R> Exchange for HttpExchange<S>
where
    S: Service<Request<SignedBody>, Response = Response<R>, Error: Into<BoxError>, Future: Send> + Send,
    R: Body<Data = Bytes, Error: Send> + Unpin + Send,
{
    type Response = Response<ResponseBody<R>>;

    fn sign(&mut self, signer: &Signer, timestamp: Timestamp) -> Result<(), SignError> {
        let payload = match &self.body {
            Outgoing::Whole(bytes) => Payload::Bytes(bytes),
            Outgoing::Streamed(digest, _) => Payload::Digest(*digest),
        };
        signer.sign_at(&mut self.parts, payload, timestamp, Nonce::random()?)
    }

    async fn send(&mut self) -> Result<(Self::Response, Option<Refusal>), SendError> {
        let body = match &mut self.body {
            Outgoing::Whole(bytes) => SignedBody::whole(bytes.clone()),
            Outgoing::Streamed(_, body) => body.take().unwrap_or_default(),
        };
        if !std::mem::take(&mut self.is_ready) {
            poll_fn(|context| self.inner.poll_ready(context)).await.map_err(|error| SendError::Client(error.into()))?;
        }
        let response = self.inner.call(Request::from_parts(self.parts.clone(), body)).await;
        let mut response = response.map_err(|error| SendError::Client(error.into()))?.map(ResponseBody::new);
        if refusal::code(response.headers()).is_none() {
            return Ok((response, None));
        }
        let body = response.body_mut().read_start().await;
        let refusal = Refusal::from_response(response.status(), response.headers(), &body);
        Ok((response, refusal))
    }

    fn can_repeat(&self) -> bool {
        matches!(self.body, Outgoing::Whole(_))
    }

    fn is_tls(&self) -> bool {
        self.parts.uri.scheme() == Some(&Scheme::HTTPS)
    }

    fn explanation(&self, signer: &Signer) -> Option<Explanation> {
        let form = match &self.body {
            Outgoing::Whole(bytes) => bytes,
            Outgoing::Streamed(..) => &Bytes::new(),
        };
        Explanation::of_request(signer.scheme(), &self.parts, form).ok()
    }

    fn attach(response: &mut Self::Response, refusal: Refusal) {
        response.extensions_mut().insert(refusal);
    }
}

async fn read<B>(body: B, limit: u64) -> Result<Bytes, SignError>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let error = |reason: String| SignError::new(SignErrorKind::Body, reason);
    collect(body, limit).await.map_err(|problem| match problem {
        CollectError::TooLarge => error(format!(
            "the body has more than {limit} bytes, which is what SignLayer reads of one: raise SignLayer::with_max_body, or put \
             the body's BodyDigest into the request's extensions, and it is streamed"
        )),
        CollectError::Broken(source) => error("the body could not be read".to_owned()).with_source(source),
        CollectError::NoRoom(never) => match never {},
    })
}
