//! Signs and sends an `http::Request`, and checks the response.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body::Body;
use http_body_util::Full;
use tower_service::Service;

use super::service::{CheckResponses, CheckableRequest, checked, other_origin};
use crate::{
    client::{
        body::SignedBody,
        exchange::{ReadyClient, Unchecked, exchange_once},
        http_request::HttpExchange,
        service::BoxedResponse,
    },
    middleware::take_ready,
    protocol::BoxError,
};

impl<S, B, R> CheckableRequest<S> for Request<B>
where
    S: Service<Request<SignedBody>, Response = Response<R>, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    R: Body<Data = Bytes, Error: Into<BoxError> + Send> + Send + 'static,
{
    type Response = Response<Full<Bytes>>;

    fn poll_ready(client: &mut S, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        client.poll_ready(context).map_err(Into::into)
    }

    fn send(self, service: &mut CheckResponses<S>) -> BoxedResponse<Self::Response> {
        let (sign, limit) = (&mut service.sign, service.max_response);
        let client = ReadyClient::new(take_ready(&mut sign.inner));
        let (signer, origins, max_body) = (sign.signer.clone(), sign.origins.clone(), sign.max_body);
        let correction = sign.correction.clone();
        Box::pin(async move {
            let (mut parts, body) = self.into_parts();
            if !origins.include(&parts.uri)? {
                return Err(other_origin().into());
            }
            parts.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            let exchange = HttpExchange::new(client, parts, body, max_body).await?;
            let Unchecked { response, sent, received } = exchange_once(exchange, &signer, &correction).await?;
            let unchecked = Unchecked { response: response.into_parts(), sent, received };
            let (parts, bytes) = checked(&signer, unchecked, limit).await?;
            Ok(Response::from_parts(parts, Full::new(bytes)))
        })
    }
}
