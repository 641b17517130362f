//! Sends signed requests with a `reqwest::Client`, and checks the responses.

use std::task::{Context, Poll};

use http::{HeaderValue, header};
use reqwest::{Request, Response};
use tower_service::Service;

use super::service::{CheckResponses, CheckableRequest, checked, other_origin};
use crate::{
    client::{
        exchange::{ReadyClient, Unchecked, exchange_once},
        reqwest::{ReqwestExchange, into_parts},
        reqwest_signer::uri_as_sent,
        service::BoxedResponse,
    },
    middleware::take_ready,
    protocol::BoxError,
};

#[cfg_attr(docsrs, doc(cfg(feature = "reqwest")))]
impl<S> CheckableRequest<S> for Request
where
    S: Service<Request, Response = Response, Error: Into<BoxError>, Future: Send> + Clone + Send + 'static,
{
    type Response = Response;

    fn poll_ready(client: &mut S, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        client.poll_ready(context).map_err(Into::into)
    }

    fn send(mut self, service: &mut CheckResponses<S>) -> BoxedResponse<Response> {
        let (sign, limit) = (&mut service.sign, service.max_response);
        let client = ReadyClient::new(take_ready(&mut sign.inner));
        let (signer, origins) = (sign.signer.clone(), sign.origins.clone());
        let correction = sign.correction.clone();
        Box::pin(async move {
            if !origins.include(&uri_as_sent(self.url())?)? {
                return Err(other_origin().into());
            }
            self.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            let exchange = ReqwestExchange::new(client, self, &signer)?;
            let Unchecked { response, sent, received } = exchange_once(exchange, &signer, &correction).await?;
            let url = response.url().clone();
            let unchecked = Unchecked { response: into_parts(response, url), sent, received };
            let (parts, bytes) = checked(&signer, unchecked, limit).await?;
            Ok(Response::from(http::Response::from_parts(parts, bytes)))
        })
    }
}
