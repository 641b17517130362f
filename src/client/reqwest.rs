//! Signs reqwest's requests, and supports its client under [`SignLayer`](crate::SignLayer).

use std::{
    mem,
    task::{Context, Poll},
};

use http::{Uri, request::Parts};
use reqwest::{Body, Request, Response, Url};
use tower_service::Service;

use super::{
    reqwest_future::ReqwestResponseFuture,
    service::{Sealed, Sign, SignableRequest},
};
use crate::protocol::{BodyDigest, BoxError, Field, Payload, SignError, Signer};

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
    /// The errors of [`sign`](Signer::sign). It also fails if the body is streamed, as files and multipart forms are,
    /// or if reqwest cannot send the URL.
    pub fn sign_reqwest(&self, request: Request) -> Result<Request, SignError> {
        rewrite(request, |parts, body| {
            let bytes = match body {
                Some(body) => body.as_bytes().ok_or_else(streams)?,
                None => &[],
            };
            self.sign_parts(parts, Payload::Bytes(bytes))
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
    /// The errors of [`sign`](Signer::sign). It also fails if the body is a form, whose parameters must be signed, or
    /// if reqwest cannot send the URL.
    pub fn sign_reqwest_digest(&self, request: Request, digest: BodyDigest) -> Result<Request, SignError> {
        rewrite(request, |parts, _| self.sign_parts(parts, Payload::Digest(digest)))
    }
}

/// Signs requests before a `reqwest::Client` sends them (feature `reqwest`). Disable redirects in the client.
///
/// The notes of [`Signer::sign_reqwest`] apply here too. This service does not read a streamed body. Set its SHA-256 as
/// the digest header, and the request is signed with that digest. Without the header, the request fails with a
/// [`SignError`].
///
/// ```
/// # use countersign::BodyDigest;
/// # fn request(client: reqwest::Client, file: reqwest::Body, digest: BodyDigest) -> reqwest::RequestBuilder {
/// client.put("https://api.example.com/files/1").header("x-content-sha256", digest.to_string()).body(file)
/// # }
/// ```
///
/// If the client follows a redirect by itself, the call fails with a [`SignError`], because the response comes from
/// another URL than the signed one. The signature was sent by then. A chain of redirects that ends at the signed URL is
/// not detected. A service that creates responses without reqwest sets their URL with
/// [`ResponseBuilderExt`](reqwest::ResponseBuilderExt).
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
    S: Service<Request, Response = Response, Error: Into<BoxError>>,
{
    type Response = Response;
    type Future = ReqwestResponseFuture<S::Future>;

    fn poll_ready(client: &mut S, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        client.poll_ready(context).map_err(Into::into)
    }

    fn send(self, service: &mut Sign<S>) -> Self::Future {
        match service.prepare(self) {
            Ok((request, signed)) => ReqwestResponseFuture::sent(service.inner.call(request), signed),
            Err(error) => ReqwestResponseFuture::refused(error),
        }
    }
}

impl Sealed for Request {}

impl<S> Sign<S> {
    /// Returns the request to send and, if it is signed, the signed URL.
    fn prepare(&self, request: Request) -> Result<(Request, Option<Url>), SignError> {
        if self.origins.include(&uri_as_sent(request.url())?)? {
            let request = match self.known_digest(&request)? {
                Some(digest) => self.signer.sign_reqwest_digest(request, digest)?,
                None => self.signer.sign_reqwest(request)?,
            };
            let url = request.url().clone();
            return Ok((request, Some(url)));
        }
        Ok((rewrite(request, |parts, _| self.signer.strip_signature(parts))?, None))
    }

    /// Returns the digest header of a request with a streamed body, if the caller has set it.
    fn known_digest(&self, request: &Request) -> Result<Option<BodyDigest>, SignError> {
        let does_stream = request.body().is_some_and(|body| body.as_bytes().is_none());
        let header = request.headers().get(self.signer.scheme().header_name(Field::BodyDigest));
        let digest = header.filter(|_| does_stream).map(|value| BodyDigest::parse(value.as_bytes())).transpose();
        digest.map_err(|error| SignError::new("the digest that the request brings along is malformed", error))
    }
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
            return Err(SignError::without_source("reqwest's URL spells the query otherwise than it was signed"));
        }
    }
    Ok(request)
}

/// Converts the URL to a URI as reqwest does.
fn uri_as_sent(url: &Url) -> Result<Uri, SignError> {
    url.as_str().parse().map_err(|error: http::uri::InvalidUri| SignError::new("reqwest cannot send this URL", error))
}

fn streams() -> SignError {
    SignError::without_source(
        "the body streams, so its digest is not known: sign it with Signer::sign_reqwest_digest, under SignLayer set the header \
         x-content-sha256, or make it bytes",
    )
}
