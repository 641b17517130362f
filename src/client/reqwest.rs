//! Signs reqwest's requests, and supports its client under [`SignLayer`](crate::SignLayer).

use std::{
    mem,
    task::{Context, Poll},
};

use http::{Uri, request::Parts};
use reqwest::{Body, Request, Response, ResponseBuilderExt, Url};
use tower_service::Service;

use super::{
    Refusal, ResponseBody, SendError,
    exchange::{Answer, Exchange, ReadyClient, exchange, sent_already},
    refusal,
    service::{BoxedResponse, Sealed, Sign, SignableRequest},
    signer::timestamp,
};
use crate::{
    middleware::take_ready,
    protocol::{BodyDigest, BoxError, Field, Nonce, Payload, SignError, SignErrorKind, Signer, Timestamp},
};

/// Methods of the feature `reqwest`, which sign its requests.
#[cfg_attr(docsrs, doc(cfg(feature = "reqwest")))]
impl Signer {
    /// Signs a reqwest request. Its body, if any, must be in memory.
    ///
    /// The request is signed as reqwest sends it. Later changes by the client are not signed:
    ///
    /// - **Redirects.** reqwest follows them by default, and sends the signature and the token to other origins too.
    ///   Build the client with [`redirect::Policy::none`](reqwest::redirect::Policy::none).
    /// - **Headers that the client adds**: its default headers and its cookie store. A default `Content-Type` or signed
    ///   header makes the signature invalid. A default token header is not signed and goes to every origin. Set these
    ///   headers on the request.
    /// - **Retries** of [`ClientBuilder::retry`](reqwest::ClientBuilder::retry). They send the same nonce again.
    ///   reqwest's own default is safe: it repeats only requests that no server has processed.
    ///
    /// With the query as [carrier](crate::FieldLocation), the URL contains the signature and the token. reqwest's
    /// errors print the URL, so log them [`without_url`](reqwest::Error::without_url).
    ///
    /// ```
    /// # use countersign::{Secret, Signer};
    /// # let signer = Signer::new("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?);
    /// let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
    /// let request = client
    ///     .post("https://api.example.com/orders")
    ///     .header("content-type", "application/json")
    ///     .body(r#"{"symbol":"BTC","amount":10}"#)
    ///     .build()?;
    /// let request = signer.sign_reqwest(request)?;
    /// assert!(request.headers().contains_key("x-sign"));
    /// // client.execute(request).await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Multipart forms
    ///
    /// `RequestBuilder::multipart` creates a streamed body. Its boundary and digest are not known when the request is
    /// signed. Convert the form to bytes first, and put the boundary into the content type (reqwest's own feature
    /// `multipart`):
    ///
    /// ```
    /// # use countersign::Signer;
    /// use futures_util::TryStreamExt;
    /// use reqwest::{Client, Request, multipart::Form};
    ///
    /// async fn signed(
    ///     client: &Client,
    ///     signer: &Signer,
    ///     form: Form,
    /// ) -> Result<Request, Box<dyn std::error::Error + Send + Sync>> {
    ///     let content_type = format!("multipart/form-data; boundary={}", form.boundary());
    ///     let body: Vec<u8> = form.into_stream().map_ok(Vec::from).try_concat().await?;
    ///     let request = client.post("https://api.example.com/files").header("content-type", content_type).body(body).build()?;
    ///     Ok(signer.sign_reqwest(request)?)
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Fails like [`sign`](Signer::sign), if the body is streamed, as files and multipart forms are, or if reqwest
    /// cannot send the URL.
    pub fn sign_reqwest(&self, request: Request) -> Result<Request, SignError> {
        self.sign_reqwest_at(request, timestamp(self.clock.wall())?, Nonce::random()?)
    }

    /// Signs a reqwest request with a timestamp and a nonce from the caller. Its body, if any, must be in memory.
    ///
    /// The verifier accepts each nonce once. [`Nonce::random`] creates one.
    ///
    /// ```
    /// # use countersign::{Nonce, Secret, Signer};
    /// # let signer = Signer::new("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?);
    /// let request = reqwest::Client::new().get("https://api.example.com/orders").build()?;
    /// let request = signer.sign_reqwest_at(request, "1700000000".parse()?, Nonce::random()?)?;
    /// assert_eq!(request.headers()["x-timestamp"], "1700000000");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The errors of [`sign_reqwest`](Signer::sign_reqwest), except those of the clock and the random source.
    pub fn sign_reqwest_at(&self, request: Request, timestamp: Timestamp, nonce: Nonce) -> Result<Request, SignError> {
        rewrite(request, |parts, body| {
            let bytes = match body {
                Some(body) => body.as_bytes().ok_or_else(streams)?,
                None => &[],
            };
            self.sign_at(parts, Payload::Bytes(bytes), timestamp, nonce)
        })
    }

    /// Signs a request with a streamed body, for example a file, by the digest of all its bytes.
    ///
    /// The notes of [`sign_reqwest`](Signer::sign_reqwest) apply here too.
    ///
    /// ```
    /// # use countersign::{BodyDigest, Secret, Signer};
    /// # let signer = Signer::new("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?);
    /// # let (client, chunks) = (reqwest::Client::new(), futures_util::stream::iter([Ok::<_, std::io::Error>("abc")]));
    /// let request = client.put("https://api.example.com/files/1").body(reqwest::Body::wrap_stream(chunks)).build()?;
    /// let request = signer.sign_reqwest_digest(request, BodyDigest::of(b"abc"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails like [`sign`](Signer::sign), if the body is a form, whose parameters must be signed, or if reqwest cannot
    /// send the URL.
    pub fn sign_reqwest_digest(&self, request: Request, digest: BodyDigest) -> Result<Request, SignError> {
        rewrite(request, |parts, _| self.sign_parts(parts, Payload::Digest(digest)))
    }
}

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

    fn send(mut self, service: &mut Sign<S>) -> BoxedResponse<Response> {
        let mut client = ReadyClient::new(take_ready(&mut service.inner));
        let (signer, origins) = (service.signer.clone(), service.origins.clone());
        let correction = service.correction.clone();
        Box::pin(async move {
            if !origins.include(&uri_as_sent(self.url())?)? {
                return client.call(rewrite(self, |parts, _| signer.strip_signature(parts))?).await;
            }
            let digest = known_digest(&signer, &self)?;
            let stream = self.body_mut().take_if(|body| body.as_bytes().is_none());
            if stream.is_some() && digest.is_none() {
                return Err(streams().into());
            }
            let is_tls = self.url().scheme() == "https";
            exchange(ReqwestExchange { client, request: Some(self), digest, stream, is_tls }, &signer, &correction)
                .await
        })
    }
}

impl Sealed for Request {}

/// A `reqwest::Request` and its client.
struct ReqwestExchange<S> {
    client: ReadyClient<S>,
    /// The request without a streamed body, until it is sent for the last time.
    request: Option<Request>,
    /// The digest of a streamed body.
    digest: Option<BodyDigest>,
    stream: Option<Body>,
    is_tls: bool,
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
        let (nonce, mut signed) = (Nonce::random()?, Vec::new());
        let mut request = rewrite(self.request.take().ok_or_else(sent_already)?, |parts, body| {
            let payload = match self.digest {
                Some(digest) => Payload::Digest(digest),
                None => Payload::Bytes(body.and_then(Body::as_bytes).unwrap_or_default()),
            };
            signed = signer.sign_and_keep(parts, payload, timestamp, nonce)?;
            Ok(())
        })?;
        if keeps {
            self.request = request.try_clone();
        }
        if let Some(stream) = self.stream.take() {
            *request.body_mut() = Some(stream);
        }
        let url = request.url().clone();
        let response = not_redirected(self.client.call(request).await?, &url)?;
        let (response, start) = match refusal::has_problem(response.headers()) {
            true => read_start(response, url).await,
            false => (response, Vec::new()),
        };
        let refusal = Refusal::from_response(response.status(), response.headers(), &start);
        Ok(Answer { response, refusal, signed })
    }

    fn can_be_kept(&self) -> bool {
        self.digest.is_none()
    }

    fn is_tls(&self) -> bool {
        self.is_tls
    }

    fn attach(response: &mut Response, refusal: Refusal) {
        response.extensions_mut().insert(refusal);
    }
}

/// Reads the start of the body of a response from this URL, and returns the response with its whole body.
async fn read_start(response: Response, mut url: Url) -> (Response, Vec<u8>) {
    let (mut parts, body) = http::Response::<Body>::from(response).into_parts();
    // The conversion has lost the URL, which travels in the extensions. The fragment is not part of it.
    url.set_fragment(None);
    if let Ok(head) = http::Response::builder().url(url).body(()) {
        parts.extensions.extend(head.into_parts().0.extensions);
    }
    let (body, start) = ResponseBody::read_start(body).await;
    (Response::from(http::Response::from_parts(parts, Body::wrap(body))), start)
}

/// Returns an error if the response comes from another URL than the signed one.
fn not_redirected(response: Response, signed: &Url) -> Result<Response, SendError> {
    let from = response.url();
    // The fragment is not sent. A response that was made without a URL has this one.
    let without_fragment = |url: &Url| url.as_str().len() - url.fragment().map_or(0, |fragment| fragment.len() + 1);
    let is_same = from.as_str()[..without_fragment(from)] == signed.as_str()[..without_fragment(signed)];
    if is_same || from.host_str() == Some("no.url.provided.local") {
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

/// Applies `write` to the head that reqwest sends for this request.
fn rewrite(
    mut request: Request,
    write: impl FnOnce(&mut Parts, Option<&Body>) -> Result<(), SignError>,
) -> Result<Request, SignError> {
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.method = request.method().clone();
    parts.uri = uri_as_sent(request.url())?;
    parts.version = request.version();
    parts.headers = mem::take(request.headers_mut());
    write(&mut parts, request.body())?;
    *request.headers_mut() = parts.headers;
    if parts.uri.query() != request.url().query() {
        request.url_mut().set_query(parts.uri.query());
        // `Url` may escape the new query differently.
        if uri_as_sent(request.url())?.path_and_query() != parts.uri.path_and_query() {
            return Err(SignError::new(
                SignErrorKind::Url,
                "reqwest's URL spells the query otherwise than it was signed",
            ));
        }
    }
    Ok(request)
}

/// Converts the URL to a URI as reqwest does.
fn uri_as_sent(url: &Url) -> Result<Uri, SignError> {
    let error = || SignError::new(SignErrorKind::Url, "reqwest cannot send this URL");
    url.as_str().parse().map_err(|source: http::uri::InvalidUri| error().with_source(source))
}

fn streams() -> SignError {
    SignError::new(
        SignErrorKind::Body,
        "the body streams, so its digest is not known: sign it with Signer::sign_reqwest_digest, under SignLayer set the header \
         x-content-sha256, or make it bytes",
    )
}
