//! Signs with the system clock and random source.

use std::time::{SystemTime, UNIX_EPOCH};

use http::{Request, request::Parts};

use crate::protocol::{Nonce, Payload, SignError, Signer, Timestamp};

/// Methods of the feature `client`, which use the system clock and random source.
impl Signer {
    /// Signs a request whose body is in memory. The body `""` is no body.
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
    /// The errors of [`sign_at`](Signer::sign_at). It also fails if the system has no random bytes, or its clock is
    /// before 1970.
    pub fn sign<B: AsRef<[u8]>>(&self, request: Request<B>) -> Result<Request<B>, SignError> {
        let (mut parts, body) = request.into_parts();
        self.sign_parts(&mut parts, Payload::Bytes(body.as_ref()))?;
        Ok(Request::from_parts(parts, body))
    }

    /// Signs the head of a request. The payload describes the body, for example a file by its digest.
    ///
    /// # Errors
    ///
    /// The errors of [`sign`](Signer::sign).
    pub fn sign_parts(&self, parts: &mut Parts, payload: Payload<'_>) -> Result<(), SignError> {
        self.sign_at(parts, payload, now()?, random_nonce()?)
    }
}

fn now() -> Result<Timestamp, SignError> {
    let reason = "the system clock is before 1970 or out of range";
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| SignError::new(reason, error))?;
    Timestamp::try_from(since_1970.as_secs()).map_err(|error| SignError::new(reason, error))
}

/// Creates a nonce of 32 hex digits from 128 random bits.
fn random_nonce() -> Result<Nonce, SignError> {
    let reason = "the system gave no random bytes for a nonce";
    let (mut bytes, mut digits) = ([0; 16], [0; 32]);
    getrandom::fill(&mut bytes).map_err(|error| SignError::new(reason, error))?;
    hex::encode_to_slice(bytes, &mut digits).map_err(|error| SignError::new(reason, error.to_string()))?;
    Nonce::parse(&digits).map_err(|error| SignError::new(reason, error))
}
