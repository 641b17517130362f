//! Signs with a clock and the system's random source.

use std::{sync::Arc, time::Duration};

use http::{Request, request::Parts, response};

use crate::{
    clock::Clock,
    protocol::{Nonce, Payload, ResponseError, SentRequest, SignError, SignErrorKind, Signer, Timestamp},
};

/// Methods of the feature `client`, which use a clock and the system's random source.
impl Signer {
    /// Sets the clock. Default: the system's clock.
    ///
    /// ```
    /// # use countersign::{Secret, Signer, clock::ManualClock};
    /// # let signer = Signer::new("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?);
    /// let signer = signer.with_clock(ManualClock::at(1_700_000_000));
    /// let request = signer.sign(http::Request::get("/").body("")?)?;
    /// assert_eq!(request.headers()["x-timestamp"], "1700000000");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Signs a request whose body is in memory. An empty body counts as no body.
    ///
    /// For a streamed body, use [`SignLayer`](crate::SignLayer), or [`sign_parts`](Signer::sign_parts) with the digest.
    /// For a `reqwest::Request`, use `sign_reqwest` (feature `reqwest`).
    ///
    /// ```
    /// # use countersign::{Secret, Signer};
    /// # let signer = Signer::new("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?);
    /// let request = http::Request::post("/orders?dry=1")
    ///     .header("content-type", "application/json")
    ///     .body(r#"{"symbol":"BTC","amount":10}"#)?;
    /// let request = signer.sign(request)?;
    /// assert!(request.headers().contains_key("x-sign"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The URL is signed as it is. If a client rewrites it afterwards, the signature is invalid. In particular, **do
    /// not sign an `http::Request` and convert it into a `reqwest::Request`**: reqwest resolves `/./`, `/../` and
    /// `%2e%2e`, turns `\` into `/`, and escapes non-ASCII characters. `sign_reqwest` (feature `reqwest`) signs the URL
    /// that reqwest sends.
    ///
    /// # Errors
    ///
    /// Fails like [`sign_at`](Signer::sign_at), and if the system has no random bytes, or its clock is before 1970.
    pub fn sign<B: AsRef<[u8]>>(&self, request: Request<B>) -> Result<Request<B>, SignError> {
        let (mut parts, body) = request.into_parts();
        self.sign_parts(&mut parts, Payload::Bytes(body.as_ref()))?;
        Ok(Request::from_parts(parts, body))
    }

    /// Checks that the service signed this response to this request, at most 300 seconds before or after the time of the clock.
    ///
    /// Pass the body as it was sent, before any decoding. For a body that is not in memory, pass its digest. To check all
    /// responses of a client, use [`SignLayer::require_signed_responses`](crate::SignLayer::require_signed_responses).
    ///
    /// ```
    /// # use countersign::{Payload, ResponseErrorKind, Secret, Signer};
    /// # let signer = Signer::new("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?);
    /// let (request, _) = signer.sign(http::Request::get("/orders").body("")?)?.into_parts();
    /// let sent = signer.sent_request(&request)?;
    /// // Send the request, and read the whole response.
    /// let (response, body) = http::Response::new("[]").into_parts();
    /// let error = signer.check_response(&sent, &response, Payload::Bytes(body.as_bytes())).unwrap_err();
    /// assert_eq!(error.kind(), ResponseErrorKind::Unsigned);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails like [`check_response_at`](Signer::check_response_at).
    pub fn check_response(
        &self,
        sent: &SentRequest,
        response: &response::Parts,
        body: Payload<'_>,
    ) -> Result<(), ResponseError> {
        let now = timestamp(self.clock.wall()).map_err(ResponseError::without_clock)?;
        self.check_response_at(sent, response.status, &response.headers, body, now)
    }

    /// Signs the head of a request. Pass the body's bytes or its digest as the payload.
    ///
    /// # Errors
    ///
    /// Fails like [`sign`](Signer::sign).
    pub fn sign_parts(&self, parts: &mut Parts, payload: Payload<'_>) -> Result<(), SignError> {
        self.sign_at(parts, payload, timestamp(self.clock.wall())?, Nonce::random()?)
    }
}

impl Nonce {
    /// Creates a nonce of 32 hex digits from 128 random bits of the system's random source (feature `client`).
    ///
    /// # Errors
    ///
    /// Fails if the system has no random bytes.
    pub fn random() -> Result<Self, SignError> {
        let error = || SignError::new(SignErrorKind::System, "the system gave no random bytes for a nonce");
        let (mut bytes, mut digits) = ([0; 16], [0; 32]);
        getrandom::fill(&mut bytes).map_err(|source| error().with_source(source))?;
        hex::encode_to_slice(bytes, &mut digits).map_err(|source| error().with_source(source.to_string()))?;
        Self::parse(&digits).map_err(|source| error().with_source(source))
    }
}

/// Returns the timestamp for a time since 1970.
pub(super) fn timestamp(since_1970: Duration) -> Result<Timestamp, SignError> {
    let reason = "the clock is before 1970 or out of range: set the system's clock";
    Timestamp::try_from(since_1970.as_secs())
        .map_err(|error| SignError::new(SignErrorKind::System, reason).with_source(error))
}
