//! Checks the signature of a response.

use http::{HeaderMap, HeaderName, StatusCode};

use crate::protocol::{
    field::{
        digest::{BodyDigest, Signature},
        error::FieldError,
        value::Timestamp,
    },
    response::{
        error::{ResponseError, ResponseErrorKind},
        sent::SentRequest,
        string::{ResponseHead, ResponseString},
    },
    scheme::{
        headers::single,
        response_headers::{RESPONSE_DIGEST, RESPONSE_SIGN, RESPONSE_SIGNATURE, RESPONSE_TIMESTAMP},
    },
    signer::sign::{Payload, Signer},
    verify::mac::mac_of,
};

/// How far the time of a response may lie from the client's clock, in seconds. Both bounds are included.
const TOLERANCE: u64 = 300;

impl Signer {
    /// Checks that the service signed this response to this request, at most 300 seconds before or after `now`.
    ///
    /// Pass the body as it was sent, before any decoding. For a body that is not in memory, pass its digest. The signature is
    /// compared in constant time.
    ///
    /// # Errors
    ///
    /// Returns a [`ResponseError`] if the response is not signed, or not the one that was signed. The outcome of the request is
    /// then unknown: send the request again only if it changes nothing, or if it has an idempotency key.
    pub fn check_response_at(
        &self,
        sent: &SentRequest,
        status: StatusCode,
        headers: &HeaderMap,
        body: Payload<'_>,
        now: Timestamp,
    ) -> Result<(), ResponseError> {
        if RESPONSE_SIGNATURE.iter().all(|name| !headers.contains_key(name)) {
            return Err(ResponseError::new(
                ResponseErrorKind::Unsigned,
                "the response is not signed: it has no header x-response-sign. Services do not sign refusals of requests whose \
                 nonce they have not claimed, and proxies sign nothing",
            ));
        }
        let timestamp = read(headers, RESPONSE_TIMESTAMP, Timestamp::parse)?;
        let digest = read(headers, RESPONSE_DIGEST, BodyDigest::parse)?;
        let sign = read(headers, RESPONSE_SIGN, Signature::parse)?;
        let received = match body {
            Payload::Bytes(bytes) => BodyDigest::of(bytes),
            Payload::Digest(digest) => digest,
        };
        if received != digest {
            return Err(ResponseError::new(
                ResponseErrorKind::BodyMismatch,
                "the response's body is not the one that was signed: look for a proxy or a layer that compresses, decodes or \
                 rewrites bodies",
            ));
        }
        let head = ResponseHead::read(self.scheme(), status, headers).map_err(|rejection| {
            ResponseError::new(
                ResponseErrorKind::Malformed,
                format!("the response is malformed: {}", rejection.detail()),
            )
        })?;
        let string = ResponseString { head: &head, digest, app_id: self.app_id(), sent, timestamp };
        if !bool::from(sign.ct_eq(&mac_of(self.key(), self.signed_by(), |out| string.write(out)))) {
            return Err(ResponseError::new(
                ResponseErrorKind::InvalidSignature,
                "the response's signature does not match: its status, a signed header or its time was changed, it answers \
                 another request, another key signed it, or the two schemes sign other headers",
            ));
        }
        if timestamp.unix_seconds().abs_diff(now.unix_seconds()) > TOLERANCE {
            return Err(ResponseError::new(
                ResponseErrorKind::StaleTimestamp,
                "the response was signed more than 300 seconds before or after the time of this clock: check both clocks",
            ));
        }
        Ok(())
    }
}

fn read<T>(
    headers: &HeaderMap,
    name: HeaderName,
    parse: impl FnOnce(&[u8]) -> Result<T, FieldError>,
) -> Result<T, ResponseError> {
    let error = |problem: &str| {
        ResponseError::new(ResponseErrorKind::Malformed, format!("the response is malformed: {name}: {problem}"))
    };
    match single(headers, &name) {
        Ok(Some(value)) => parse(value).map_err(|field| error(&field.problem().to_string())),
        Ok(None) => Err(error("it is missing")),
        Err(_) => Err(error("it is there twice")),
    }
}
