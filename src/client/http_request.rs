//! Signs and sends an `http::Request`.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response, request::Parts, uri::Scheme};
use http_body::Body;
use tower_service::Service;

use super::{
    Refusal, ResponseBody, SendError,
    body::SignedBody,
    exchange::{Answer, Exchange, ReadyClient, exchange, sent_already},
    refusal,
    service::{BoxedResponse, Sealed, Sign, SignableRequest},
};
use crate::{
    collect::{CollectError, collect},
    middleware::take_ready,
    protocol::{BodyDigest, BoxError, Nonce, Payload, SentRequest, SignError, SignErrorKind, Signer, Timestamp},
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
    R: Body<Data: Send, Error: Send> + Send + 'static,
{
    type Response = Response<ResponseBody<R>>;

    fn poll_ready(client: &mut S, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        client.poll_ready(context).map_err(Into::into)
    }

    fn send(self, service: &mut Sign<S>) -> BoxedResponse<Self::Response> {
        let mut client = ReadyClient::new(take_ready(&mut service.inner));
        let (signer, origins, max_body) = (service.signer.clone(), service.origins.clone(), service.max_body);
        let correction = service.correction.clone();
        Box::pin(async move {
            let (mut parts, body) = self.into_parts();
            if !origins.include(&parts.uri)? {
                signer.strip_signature(&mut parts)?;
                let response = client.call(Request::from_parts(parts, SignedBody::streamed(body))).await?;
                return Ok(response.map(ResponseBody::new));
            }
            exchange(HttpExchange::new(client, parts, body, max_body).await?, &signer, &correction).await
        })
    }
}

/// An `http::Request` and its client.
pub(super) struct HttpExchange<S> {
    client: ReadyClient<S>,
    /// The request, until it is sent for the last time.
    request: Option<(Parts, Outgoing)>,
    is_tls: bool,
    is_safe: bool,
}

impl<S> HttpExchange<S> {
    /// Buffers the body, unless its digest is in the extensions.
    pub(super) async fn new<B>(
        client: ReadyClient<S>,
        mut parts: Parts,
        body: B,
        max_body: u64,
    ) -> Result<Self, SignError>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let body = match parts.extensions.remove::<BodyDigest>() {
            Some(digest) => Outgoing::Streamed(digest, SignedBody::streamed(body)),
            None => Outgoing::Whole(read(body, max_body).await?),
        };
        let is_tls = parts.uri.scheme() == Some(&Scheme::HTTPS);
        let is_safe = matches!(parts.method, Method::GET | Method::HEAD);
        Ok(Self { client, request: Some((parts, body)), is_tls, is_safe })
    }
}

enum Outgoing {
    Whole(Bytes),
    Streamed(BodyDigest, SignedBody),
}

impl<S, R> Exchange for HttpExchange<S>
where
    S: Service<Request<SignedBody>, Response = Response<R>, Error: Into<BoxError>, Future: Send> + Send,
    R: Body<Data: Send, Error: Send> + Send,
{
    type Response = Response<ResponseBody<R>>;

    async fn attempt(
        &mut self,
        signer: &Signer,
        timestamp: Timestamp,
        keeps: bool,
    ) -> Result<Answer<Self::Response>, SendError> {
        let (mut parts, body) = self.request.take().ok_or_else(sent_already)?;
        let payload = match &body {
            Outgoing::Whole(bytes) => Payload::Bytes(bytes),
            Outgoing::Streamed(digest, _) => Payload::Digest(*digest),
        };
        let (signed, sign) = signer.sign_and_keep(&mut parts, payload, timestamp, Nonce::random()?)?;
        let sent = SentRequest::new(sign, &parts.method);
        let body = match body {
            Outgoing::Whole(bytes) => {
                if keeps {
                    self.request = Some((parts.clone(), Outgoing::Whole(bytes.clone())));
                }
                SignedBody::whole(bytes)
            }
            Outgoing::Streamed(_, body) => body,
        };
        let response = self.client.call(Request::from_parts(parts, body)).await?;
        let received = signer.clock.wall();
        let (parts, body) = response.into_parts();
        let (body, start) = match refusal::has_problem(&parts.headers) {
            true => ResponseBody::read_start(body, refusal::MAX_BODY).await,
            false => (ResponseBody::new(body), Vec::new()),
        };
        let refusal = Refusal::from_response(parts.status, &parts.headers, &start);
        Ok(Answer { response: Response::from_parts(parts, body), refusal, received, signed, sent })
    }

    fn can_be_kept(&self) -> bool {
        matches!(self.request, Some((_, Outgoing::Whole(_))))
    }

    fn is_safe(&self) -> bool {
        self.is_safe
    }

    fn is_tls(&self) -> bool {
        self.is_tls
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
