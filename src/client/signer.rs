//! Signing here and now.

use std::time::{SystemTime, UNIX_EPOCH};

use http::{Request, request::Parts};

use crate::protocol::{Nonce, Payload, SignError, Signer, Timestamp};

/// With the feature `client`: the system's clock and random source.
impl Signer {
    /// Signs a request whose body is at hand; `""` is none. For a body that streams use
    /// [`SignLayer`](crate::SignLayer), or [`sign_parts`](Signer::sign_parts) with its digest; for a `reqwest::Request`
    /// the feature `reqwest` and `sign_reqwest`.
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
    /// The URL is signed as it is. A client that rewrites it afterwards breaks the signature. In particular, **do not sign an
    /// `http::Request` and make a `reqwest::Request` of it**: reqwest's URLs resolve `/./`, `/../` and `%2e%2e`, turn `\` into `/`
    /// and escape what is not ASCII. `sign_reqwest` (feature `reqwest`) signs what reqwest sends.
    ///
    /// # Errors
    ///
    /// Those of [`sign_at`](Signer::sign_at); or the system has no random bytes, or a clock before 1970.
    pub fn sign<B: AsRef<[u8]>>(&self, request: Request<B>) -> Result<Request<B>, SignError> {
        let (mut parts, body) = request.into_parts();
        self.sign_parts(&mut parts, Payload::Bytes(body.as_ref()))?;
        Ok(Request::from_parts(parts, body))
    }

    /// Signs a request's head for a body that is elsewhere: a file, by its digest.
    ///
    /// # Errors
    ///
    /// Those of [`sign`](Signer::sign).
    pub fn sign_parts(&self, parts: &mut Parts, payload: Payload<'_>) -> Result<(), SignError> {
        self.sign_at(parts, payload, now()?, random_nonce()?)
    }
}

fn now() -> Result<Timestamp, SignError> {
    let reason = "the system's clock tells no time that could be sent";
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| SignError::new(reason, error))?;
    Timestamp::try_from(since_1970.as_secs()).map_err(|error| SignError::new(reason, error))
}

/// 32 hex digits from 128 random bits.
fn random_nonce() -> Result<Nonce, SignError> {
    let reason = "the system gave no random bytes for a nonce";
    let (mut bytes, mut digits) = ([0; 16], [0; 32]);
    getrandom::fill(&mut bytes).map_err(|error| SignError::new(reason, error))?;
    hex::encode_to_slice(bytes, &mut digits).map_err(|error| SignError::new(reason, error.to_string()))?;
    Nonce::parse(&digits).map_err(|error| SignError::new(reason, error))
}
