//! Signs requests of reqwest.

use std::mem;

use http::{Uri, request::Parts};
use reqwest::{Body, Request, Url};

use super::signer::timestamp;
use crate::protocol::{BodyDigest, Nonce, Payload, SignError, SignErrorKind, Signer, Timestamp};

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

/// Applies `write` to the head that reqwest sends for this request.
pub(super) fn rewrite(
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
pub(super) fn uri_as_sent(url: &Url) -> Result<Uri, SignError> {
    let error = || SignError::new(SignErrorKind::Url, "reqwest cannot send this URL");
    url.as_str().parse().map_err(|source: http::uri::InvalidUri| error().with_source(source))
}

pub(super) fn streams() -> SignError {
    SignError::new(
        SignErrorKind::Body,
        "the body streams, so its digest is not known: sign it with Signer::sign_reqwest_digest, under SignLayer set the header \
         x-content-sha256, or make it bytes",
    )
}
