//! The calls of the API.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use countersign::{Refusal, Secret, client::Sign};
use reqwest::{
    RequestBuilder, Response, Url,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, RETRY_AFTER},
};
use serde::de::DeserializeOwned;
use tower::ServiceExt;

use crate::{
    ApiError, Builder, Document, Error, IDEMPOTENCY_KEY, Order, Receipt, StoredFile,
    retry::{self, Repeat},
    upload::{HashedFile, SerializedForm},
};

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// A client of the orders API. Clones share its connections and the correction of its clock, so make one and clone it.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) http: Sign<reqwest::Client>,
    /// Ends with `/`.
    pub(crate) base: Url,
    pub(crate) limits: TimeLimits,
}

/// How long calls may take.
#[derive(Clone, Debug)]
pub(crate) struct TimeLimits {
    pub(crate) attempt: Duration,
    pub(crate) call: Duration,
    pub(crate) upload: Duration,
    pub(crate) max_attempts: u32,
}

impl Client {
    /// Starts to build a client. `base_url` is the part before `/orders`, for example `https://api.example.com/v1`.
    pub fn builder(base_url: impl Into<String>, app_id: impl Into<String>, secret: Secret) -> Builder {
        Builder::new(base_url.into(), app_id.into(), secret)
    }

    /// Places an order. The service carries it out once, however often the request is sent.
    ///
    /// If the outcome is unknown in the end, call this again with the same order, whose key stays the same.
    ///
    /// # Errors
    ///
    /// Any [`Error`].
    pub async fn place_order(&self, order: &Order) -> Result<Receipt, Error> {
        // Each attempt sends the same bytes. To serialise again could give others, for the same key.
        let body = Bytes::from(order.to_json().map_err(|error| Error::NotMade(error.into()))?);
        let key = order.key.to_string();
        self.call(Repeat::Safe, || async {
            // The content type is set here, because it is signed: reqwest would add it too late.
            let request = self.http.get_ref().post(self.url("orders")?).header(CONTENT_TYPE, "application/json");
            self.send(request.header(IDEMPOTENCY_KEY, &key).body(body.clone()).timeout(self.limits.attempt)).await
        })
        .await
    }

    /// Returns the orders that were placed.
    ///
    /// # Errors
    ///
    /// Any [`Error`].
    pub async fn orders(&self) -> Result<Vec<Receipt>, Error> {
        self.call(Repeat::Safe, || async {
            self.send(self.http.get_ref().get(self.url("orders")?).timeout(self.limits.attempt)).await
        })
        .await
    }

    /// Uploads a file of any size, under its digest. It is streamed, and may be sent again because it replaces itself.
    ///
    /// # Errors
    ///
    /// Any [`Error`]. It is [`Error::NotMade`] if the file cannot be read.
    pub async fn upload(&self, path: impl AsRef<Path>) -> Result<StoredFile, Error> {
        let file = HashedFile::read(path.as_ref()).await?;
        let limits = &self.limits;
        retry::run(limits.max_attempts, limits.upload, Repeat::Safe, || self.put(&file)).await
    }

    /// Uploads a document as a multipart form. It is not retried, because the service would store a second copy.
    ///
    /// # Errors
    ///
    /// Any [`Error`].
    pub async fn upload_form(&self, document: Document) -> Result<StoredFile, Error> {
        let form = SerializedForm::new(document).await?;
        self.call(Repeat::Never, || async {
            let request = self.http.get_ref().post(self.url("documents")?).header(CONTENT_TYPE, &form.content_type);
            self.send(request.body(form.body.clone()).timeout(self.limits.attempt)).await
        })
        .await
    }
}

impl Client {
    async fn call<T, F>(&self, repeat: Repeat, attempt: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        retry::run(self.limits.max_attempts, self.limits.call, repeat, attempt).await
    }

    async fn put(&self, file: &HashedFile) -> Result<StoredFile, Error> {
        let digest = file.digest.to_string();
        let request = self
            .http
            .get_ref()
            .put(self.url(&format!("files/{digest}"))?)
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, file.bytes)
            // `SignLayer` signs a streamed body by this header.
            .header("x-content-sha256", &digest)
            .body(file.open().await?);
        self.send(request).await
    }

    fn url(&self, path: &str) -> Result<Url, Error> {
        self.base.join(path).map_err(|error| Error::NotMade(error.into()))
    }

    /// Signs and sends one attempt, and reads its answer.
    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Error> {
        let request = request.build().map_err(|error| Error::NotMade(error.into()))?;
        let response = self.http.clone().oneshot(request).await?;
        if let Some(refusal) = response.extensions().get::<Refusal>() {
            return Err(refusal.clone().into());
        }
        let (status, retry_after) = (response.status(), retry_after(response.headers()));
        let body = read(response).await?;
        if !status.is_success() {
            return Err(ApiError { status, body: String::from_utf8_lossy(&body).into_owned(), retry_after }.into());
        }
        serde_json::from_slice(&body).map_err(|error| Error::Undecodable { status, source: error.into() })
    }
}

/// Reads at most [`MAX_ANSWER`] bytes. The text of an error is cut there.
async fn read(mut response: Response) -> Result<Vec<u8>, Error> {
    let (status, mut body) = (response.status(), Vec::new());
    while let Some(chunk) = response.chunk().await.map_err(|error| Error::OutcomeUnknown(error.into()))? {
        let left = MAX_ANSWER - body.len();
        if chunk.len() > left && status.is_success() {
            let source = format!("it has more than {MAX_ANSWER} bytes").into();
            return Err(Error::Undecodable { status, source });
        }
        body.extend_from_slice(&chunk[..chunk.len().min(left)]);
        if body.len() == MAX_ANSWER && !status.is_success() {
            break;
        }
    }
    Ok(body)
}

/// Reads a number of seconds. A date is ignored, because it needs a clock that is right.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}
