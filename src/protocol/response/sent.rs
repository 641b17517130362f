//! What a client keeps of a signed request, so that it can check the response.

use std::fmt;

use http::{Method, StatusCode, request::Parts};

use crate::protocol::{
    canonical::string_to_sign::uri_as_sent,
    claim::fields::Claim,
    field::digest::Signature,
    signer::{error::SignError, sign::Signer},
};

/// What a client keeps of a signed request to check its response: the signature, and whether the response has a body.
///
/// ```
/// # use countersign::{Payload, Secret, Signer};
/// # let signer = Signer::new("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?);
/// let (mut parts, ()) = http::Request::get("/orders").body(())?.into_parts();
/// let (timestamp, nonce) = ("1700000000".parse()?, "4f3c2b1a0d9e8f7a6b5c4d3e2f1a0b9c".parse()?);
/// signer.sign_at(&mut parts, Payload::Bytes(b""), timestamp, nonce)?;
/// let sent = signer.sent_request(&parts)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SentRequest {
    sign: Signature,
    method: BodyRule,
}

/// How the method of a request decides whether its response has a body. RFC 9110, section 6.4.1.
#[derive(Clone, Copy)]
enum BodyRule {
    /// HEAD: never.
    Never,
    /// CONNECT: not if it succeeds. The bytes that follow are those of the tunnel or the WebSocket.
    UnlessSuccessful,
    /// Any other method: by the status.
    ByStatus,
}

impl SentRequest {
    pub(crate) fn new(sign: Signature, method: &Method) -> Self {
        let method = match *method {
            Method::HEAD => BodyRule::Never,
            Method::CONNECT => BodyRule::UnlessSuccessful,
            _ => BodyRule::ByStatus,
        };
        Self { sign, method }
    }

    pub(crate) fn sign(&self) -> Signature {
        self.sign
    }

    /// Whether a response with this status has a body.
    pub(crate) fn has_body(&self, status: StatusCode) -> bool {
        let by_status =
            !matches!(status, StatusCode::SWITCHING_PROTOCOLS | StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        match self.method {
            BodyRule::Never => false,
            BodyRule::UnlessSuccessful => by_status && !status.is_success(),
            BodyRule::ByStatus => by_status,
        }
    }
}

impl Signer {
    /// Reads what a client keeps of a request that this signer has signed, to check the response.
    ///
    /// # Errors
    ///
    /// Fails if the request is not signed.
    pub fn sent_request(&self, parts: &Parts) -> Result<SentRequest, SignError> {
        let claim = Claim::extract(self.scheme(), &uri_as_sent(parts), &parts.headers).map_err(SignError::refused)?;
        Ok(SentRequest::new(*claim.sign(), &parts.method))
    }
}

impl fmt::Debug for SentRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SentRequest(..)")
    }
}
