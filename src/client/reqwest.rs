//! Sends signed requests with a `reqwest::Client` under [`SignLayer`](crate::SignLayer).

use std::task::{Context, Poll};

use http::response::Parts;
use reqwest::{Body, Method, Request, Response, ResponseBuilderExt, Url};
use tower_service::Service;

use super::{
    Refusal, ResponseBody, SendError,
    exchange::{Answer, Exchange, ReadyClient, exchange, sent_already},
    refusal,
    reqwest_signer::{rewrite, streams, uri_as_sent},
    service::{BoxedResponse, Sealed, Sign, SignableRequest},
};
use crate::{
    middleware::take_ready,
    protocol::{BodyDigest, BoxError, Field, Nonce, Payload, SentRequest, SignError, SignErrorKind, Signer, Timestamp},
};

/// Signs requests before a `reqwest::Client` sends them (feature `reqwest`). Disable redirects in the client.
///
/// The notes of [`Signer::sign_reqwest`] apply here too. [`Sign`] does not read a streamed body. Set the SHA-256 of the
/// body as the digest header, and `Sign` signs this digest. Without the header, the request fails with a [`SignError`].
///
/// ```
/// # use countersign::BodyDigest;
/// # fn request(client: reqwest::Client, file: reqwest::Body, digest: BodyDigest) -> reqwest::RequestBuilder {
/// client.put("https://api.example.com/files/1").header("x-content-sha256", digest.to_string()).body(file)
/// # }
/// ```
///
/// If the client follows a redirect by itself, the call fails with [`SendError::Redirected`], because the response comes
/// from another URL than the signed one. By then, the client has sent the signature to the other URL. `Sign` does not detect
/// a chain of redirects that ends at the signed URL. A service that creates responses without reqwest sets their URL
/// with [`ResponseBuilderExt`](reqwest::ResponseBuilderExt).
///
/// ```
/// # use countersign::{Secret, Signer, SignLayer};
/// # use tower::ServiceBuilder;
/// # let signer = Signer::new("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?);
/// let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
/// let client = ServiceBuilder::new().layer(SignLayer::new(signer)).service(client);
/// # fn takes(_: impl tower::Service<reqwest::Request, Response = reqwest::Response>) {}
/// # takes(client);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[cfg_attr(docsrs, doc(cfg(feature = "reqwest")))]
impl<S> SignableRequest<S> for Request
where
    S: Service<Request, Response = Response, Error: Into<BoxError>, Future: Send> + Clone + Send + 'static,
{
    type Response = Response;

    fn poll_ready(client: &mut S, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        client.poll_ready(context).map_err(Into::into)
    }

    fn send(self, service: &mut Sign<S>) -> BoxedResponse<Response> {
        let mut client = ReadyClient::new(take_ready(&mut service.inner));
        let (signer, origins) = (service.signer.clone(), service.origins.clone());
        let correction = service.correction.clone();
        Box::pin(async move {
            if !origins.include(&uri_as_sent(self.url())?)? {
                return client.call(rewrite(self, |parts, _| signer.strip_signature(parts))?).await;
            }
            exchange(ReqwestExchange::new(client, self, &signer)?, &signer, &correction).await
        })
    }
}

impl Sealed for Request {}

/// A `reqwest::Request` and its client.
pub(super) struct ReqwestExchange<S> {
    client: ReadyClient<S>,
    /// The request without a streamed body, until it is sent for the last time.
    request: Option<Request>,
    /// The digest of a streamed body.
    digest: Option<BodyDigest>,
    stream: Option<Body>,
    is_tls: bool,
    is_safe: bool,
}

impl<S> ReqwestExchange<S> {
    pub(super) fn new(client: ReadyClient<S>, mut request: Request, signer: &Signer) -> Result<Self, SignError> {
        let digest = known_digest(signer, &request)?;
        let stream = request.body_mut().take_if(|body| body.as_bytes().is_none());
        if stream.is_some() && digest.is_none() {
            return Err(streams());
        }
        let is_tls = request.url().scheme() == "https";
        let is_safe = matches!(*request.method(), Method::GET | Method::HEAD);
        Ok(Self { client, request: Some(request), digest, stream, is_tls, is_safe })
    }
}

impl<S> Exchange for ReqwestExchange<S>
where
    S: Service<Request, Response = Response, Error: Into<BoxError>, Future: Send> + Send,
{
    type Response = Response;

    async fn attempt(
        &mut self,
        signer: &Signer,
        timestamp: Timestamp,
        keeps: bool,
    ) -> Result<Answer<Response>, SendError> {
        let (nonce, mut signed) = (Nonce::random()?, None);
        let mut request = rewrite(self.request.take().ok_or_else(sent_already)?, |parts, body| {
            let payload = match self.digest {
                Some(digest) => Payload::Digest(digest),
                None => Payload::Bytes(body.and_then(Body::as_bytes).unwrap_or_default()),
            };
            signed = Some(signer.sign_and_keep(parts, payload, timestamp, nonce)?);
            Ok(())
        })?;
        let (signed, sign) = signed.ok_or_else(sent_already)?;
        let sent = SentRequest::new(sign, request.method());
        if keeps {
            self.request = request.try_clone();
        }
        if let Some(stream) = self.stream.take() {
            *request.body_mut() = Some(stream);
        }
        let url = request.url().clone();
        let response = not_redirected(self.client.call(request).await?, &url)?;
        let received = signer.clock.wall();
        let (response, start) = match refusal::has_problem(response.headers()) {
            true => read_start(response, url).await,
            false => (response, Vec::new()),
        };
        let refusal = Refusal::from_response(response.status(), response.headers(), &start);
        Ok(Answer { response, refusal, received, signed, sent })
    }

    fn can_be_kept(&self) -> bool {
        self.digest.is_none()
    }

    fn is_safe(&self) -> bool {
        self.is_safe
    }

    fn is_tls(&self) -> bool {
        self.is_tls
    }

    fn attach(response: &mut Response, refusal: Refusal) {
        response.extensions_mut().insert(refusal);
    }
}

/// Reads the start of the body of a response from this URL, and returns the response with its whole body.
async fn read_start(response: Response, url: Url) -> (Response, Vec<u8>) {
    let (parts, body) = into_parts(response, url);
    let (body, start) = ResponseBody::read_start(body, refusal::MAX_BODY).await;
    (Response::from(http::Response::from_parts(parts, Body::wrap(body))), start)
}

/// Splits a response from this URL. The head keeps the URL.
pub(super) fn into_parts(response: Response, mut url: Url) -> (Parts, Body) {
    let (mut parts, body) = http::Response::<Body>::from(response).into_parts();
    // The conversion has lost the URL, which travels in the extensions. The fragment is not part of it.
    url.set_fragment(None);
    if let Ok(head) = http::Response::builder().url(url).body(()) {
        parts.extensions.extend(head.into_parts().0.extensions);
    }
    (parts, body)
}

/// Returns an error if the response comes from another URL than the signed one.
fn not_redirected(response: Response, signed: &Url) -> Result<Response, SendError> {
    let from = response.url();
    // The fragment is not sent.
    let without_fragment = |url: &Url| url.as_str().len() - url.fragment().map_or(0, |fragment| fragment.len() + 1);
    let is_same = from.as_str()[..without_fragment(from)] == signed.as_str()[..without_fragment(signed)];
    if is_same {
        return Ok(response);
    }
    // Report only the origin, because the rest of the URL may contain the signature.
    Err(SendError::Redirected { origin: from.origin().ascii_serialization() })
}

/// Returns the digest header of a request with a streamed body, if the caller has set it.
fn known_digest(signer: &Signer, request: &Request) -> Result<Option<BodyDigest>, SignError> {
    let does_stream = request.body().is_some_and(|body| body.as_bytes().is_none());
    let header = request.headers().get(signer.scheme().header_name(Field::BodyDigest));
    let digest = header.filter(|_| does_stream).map(|value| BodyDigest::parse(value.as_bytes())).transpose();
    digest.map_err(|error| {
        SignError::new(SignErrorKind::Body, "the digest that the request brings along is malformed").with_source(error)
    })
}
