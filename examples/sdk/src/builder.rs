//! Options of the client, and how the signer and the HTTP client are put together.

use std::{fmt, time::Duration};

use countersign::{AppId, FieldError, SchemeError, Secret, SignLayer, Signer};
use reqwest::{Url, redirect::Policy};
use tower::Layer;

use crate::{Client, client::TimeLimits, scheme};

/// Builds a [`Client`].
#[derive(Clone)]
#[must_use]
pub struct Builder {
    base_url: String,
    app_id: String,
    secret: Secret,
    user_agent: String,
    connect_timeout: Duration,
    limits: TimeLimits,
    is_http_allowed: bool,
}

impl Builder {
    pub(crate) fn new(base_url: String, app_id: String, secret: Secret) -> Self {
        Self {
            base_url,
            app_id,
            secret,
            user_agent: concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(5),
            limits: TimeLimits {
                attempt: Duration::from_secs(10),
                call: Duration::from_secs(30),
                upload: Duration::from_secs(600),
                max_attempts: 4,
            },
            is_http_allowed: false,
        }
    }

    /// Sets the user agent. Default: the name and the version of this crate.
    pub fn with_user_agent(self, user_agent: impl Into<String>) -> Self {
        Self { user_agent: user_agent.into(), ..self }
    }

    /// Sets how long a connection may take, with its TLS handshake. Default: 5 seconds.
    pub fn with_connect_timeout(self, connect_timeout: Duration) -> Self {
        Self { connect_timeout, ..self }
    }

    /// Sets how long one attempt may take, until the end of its answer. Uploads of files have no such limit. Default: 10
    /// seconds.
    pub fn with_attempt_timeout(mut self, timeout: Duration) -> Self {
        self.limits.attempt = timeout;
        self
    }

    /// Sets how long a call may take, with all attempts and waits. Default: 30 seconds.
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.limits.call = deadline;
        self
    }

    /// Sets how long the upload of a file may take, with all attempts and waits. Default: 10 minutes.
    pub fn with_upload_deadline(mut self, deadline: Duration) -> Self {
        self.limits.upload = deadline;
        self
    }

    /// Sets how often a request is sent at most. Default: 4. With 1, nothing is retried.
    pub fn with_max_attempts(mut self, attempts: u32) -> Self {
        self.limits.max_attempts = attempts;
        self
    }

    /// Allows a base URL with `http`, and lets the clock be corrected over it. Default: off.
    ///
    /// Use it only for tests on one machine: the requests are neither encrypted nor sent through a proxy.
    pub fn with_insecure_http(self) -> Self {
        Self { is_http_allowed: true, ..self }
    }

    /// Builds the client.
    ///
    /// # Errors
    ///
    /// The base URL or the app id is invalid, or the HTTP client cannot be made.
    pub fn build(self) -> Result<Client, BuildError> {
        let base = base(&self.base_url, self.is_http_allowed)?;
        let signer = Signer::new(self.app_id.parse::<AppId>()?, self.secret).with_scheme(scheme()?);
        let layer = SignLayer::new(signer);
        let layer = match self.is_http_allowed {
            true => layer.with_insecure_clock_correction(),
            false => layer.with_clock_correction(),
        };
        let http = reqwest::Client::builder()
            .user_agent(self.user_agent)
            .connect_timeout(self.connect_timeout)
            // reqwest would send the signature to the new URL, for which it is not valid.
            .redirect(Policy::none());
        let http = if self.is_http_allowed { http.no_proxy() } else { http.https_only(true) };
        Ok(Client { http: layer.layer(http.build()?), base, limits: self.limits })
    }
}

/// Hides the base URL too, which may contain a password before [`Builder::build`] refuses it.
impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("app_id", &self.app_id).field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// The error of [`Builder::build`]. It does not repeat the base URL, which may contain a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The base URL is not one.
    #[error("the base URL: expected one like https://api.example.com/v1, {0}")]
    BaseUrl(&'static str),
    /// The app id has a character that it cannot have, or too many.
    #[error(transparent)]
    AppId(#[from] FieldError),
    /// The idempotency key cannot be a signed header.
    #[error(transparent)]
    Scheme(#[from] SchemeError),
    /// The HTTP client cannot be made, for example because of the user agent.
    #[error("the HTTP client could not be made")]
    Http(#[from] reqwest::Error),
}

fn base(text: &str, is_http_allowed: bool) -> Result<Url, BuildError> {
    let mut url: Url = text.parse().map_err(|_| BuildError::BaseUrl("found no URL"))?;
    let problem = match url.scheme() {
        "https" => None,
        "http" if is_http_allowed => None,
        _ => Some("found another scheme than https"),
    };
    let has_more = url.query().is_some() || url.fragment().is_some();
    let problem = problem.or(has_more.then_some("found a query or a fragment"));
    let has_user = !url.username().is_empty() || url.password().is_some();
    if let Some(problem) = problem.or(has_user.then_some("found a user or a password")) {
        return Err(BuildError::BaseUrl(problem));
    }
    // `Url::join` replaces what follows the last slash.
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}
