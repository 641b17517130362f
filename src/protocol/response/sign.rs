//! Signs a response.

#[cfg(feature = "server")]
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode};

use crate::protocol::{
    field::{
        digest::{BodyDigest, Signature},
        value::Timestamp,
    },
    response::{
        sent::SentRequest,
        string::{ResponseHead, ResponseString},
    },
    scheme::response_headers::{RESPONSE_DIGEST, RESPONSE_SIGN, RESPONSE_TIMESTAMP},
    signer::{
        error::SignError,
        sign::{Payload, Signer},
    },
    verify::mac::mac_of,
};
#[cfg(feature = "server")]
use crate::protocol::{
    key::{app_key::SignedBy, ring::KeyRing},
    scheme::contract::Scheme,
    verify::mac::Authentic,
};

#[cfg(feature = "server")]
impl Signer {
    /// Makes the signer of the response to a request: it has the key that signed the request. `keys` are the app's. Returns
    /// `None` if the key is not among them.
    pub(crate) fn of_authentic(authentic: &Authentic<'_>, keys: &KeyRing, scheme: &Arc<Scheme>) -> Option<Self> {
        let (fields, label) = (authentic.fields(), authentic.key());
        let key = keys.get(label.index)?;
        let key = match label.signed_by {
            SignedBy::AppKey => key.clone(),
            SignedBy::SessionKey => {
                let token = fields.token.token()?;
                key.session_key(authentic.request().audience(), &fields.app_id, token).into()
            }
        };
        Some(Self::of_responses(fields.app_id.clone(), key, label.signed_by, scheme.clone()))
    }
}

impl Signer {
    /// Signs the response to a request, at this time: for services in other frameworks, and for tests of clients. A service
    /// with a `VerifyLayer` has the `SignResponsesLayer` (feature `server`).
    ///
    /// `self` has the key that signed the request. Sign last, after everything that changes the status, a signed header or the
    /// body. A response to HEAD, and one with the status 204, 304 or 101, is signed as one without a body.
    ///
    /// ```
    /// # use countersign::{Payload, Secret, Signer};
    /// # let signer = Signer::new("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?);
    /// # let (mut request, ()) = http::Request::get("/orders").body(())?.into_parts();
    /// # let (timestamp, nonce) = ("1700000000".parse()?, "4f3c2b1a0d9e8f7a6b5c4d3e2f1a0b9c".parse()?);
    /// # signer.sign_at(&mut request, Payload::Bytes(b""), timestamp, nonce)?;
    /// let sent = signer.sent_request(&request)?;
    /// let (mut response, body) = http::Response::new("[]").into_parts();
    /// signer.sign_response_at(&sent, response.status, &mut response.headers, Payload::Bytes(body.as_bytes()), timestamp)?;
    /// signer.check_response_at(&sent, response.status, &response.headers, Payload::Bytes(body.as_bytes()), timestamp)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails if the response has two content types, or one that is no `type/subtype`.
    pub fn sign_response_at(
        &self,
        sent: &SentRequest,
        status: StatusCode,
        headers: &mut HeaderMap,
        body: Payload<'_>,
        timestamp: Timestamp,
    ) -> Result<(), SignError> {
        let digest = match (sent.has_body(status), body) {
            (false, _) => BodyDigest::of(b""),
            (true, Payload::Bytes(bytes)) => BodyDigest::of(bytes),
            (true, Payload::Digest(digest)) => digest,
        };
        let head = ResponseHead::read(self.scheme(), status, headers).map_err(SignError::refused_response)?;
        let string = ResponseString { head: &head, digest, app_id: self.app_id(), sent, timestamp };
        let sign = Signature::from_bytes(mac_of(self.key(), self.signed_by(), |out| string.write(out)));
        let value = |bytes: &[u8]| HeaderValue::from_bytes(bytes).map_err(SignError::unwritable);
        headers.insert(RESPONSE_TIMESTAMP, timestamp.unix_seconds().into());
        headers.insert(RESPONSE_DIGEST, value(digest.to_hex().as_bytes())?);
        headers.insert(RESPONSE_SIGN, value(sign.to_hex().as_bytes())?);
        Ok(())
    }
}
