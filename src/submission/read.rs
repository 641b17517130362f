//! Which submission a request is.

use std::{sync::Arc, time::Duration};

use http::{Method, request::Parts};

use super::{
    IdempotencyKey, Submission, SubmissionScope,
    options::{Mode, Options},
};
use crate::{
    protocol::{IDEMPOTENCY_KEY, InField, Rejection, RejectionKind, single},
    server::{Caller, SignedSubmission},
    store::Fingerprint,
};

/// A request that is a submission.
pub(super) struct Submitted {
    pub(super) submission: Submission,
    pub(super) fingerprint: Fingerprint,
    pub(super) ttl: Duration,
    /// Whether a repeated request may get the stored answer. Callers that share a scope share no answers.
    pub(super) is_replayable: bool,
    /// Whether answers have the header `idempotency-replayed`. A client whose key counts for nothing must not see it.
    pub(super) has_header: bool,
}

/// Whether requests with this method change nothing, so that they are not guarded. A WebSocket over HTTP/2 is a CONNECT, and
/// over HTTP/1.1 a GET.
pub(super) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::CONNECT)
}

/// Reads the submission of a request with an unsafe method. Returns `None` if the request is not guarded: it has no key where
/// that is allowed, or a layer that only reports has let it in unverified.
///
/// # Errors
///
/// The key is missing or malformed, or the service is misconfigured.
pub(super) fn read(options: &Options, parts: &Parts) -> Result<Option<Submitted>, Rejection> {
    let Some(caller) = parts.extensions.get::<Caller>() else {
        return match parts.extensions.get::<Rejection>() {
            Some(_) => Ok(None),
            None => Err(misconfigured(
                "SubmitOnceLayer finds no caller: put it below a VerifyLayer that does not let the request in unverified",
            )),
        };
    };
    let signed = parts.extensions.get::<Arc<SignedSubmission>>().ok_or_else(|| {
        misconfigured("SubmitOnceLayer finds no fingerprint: give its verifier Verifier::with_fingerprints")
    })?;
    if !signed.is_body_checked {
        return Err(misconfigured(
            "SubmitOnceLayer stands below a verifier with streamed bodies, and a wrong body would count as a submission: use a \
             verifier that buffers bodies on these routes",
        ));
    }
    let (key, has_unsigned_key) = match is_key_signed(signed) {
        true => (key(parts)?, false),
        false => (None, parts.headers.contains_key(&IDEMPOTENCY_KEY)),
    };
    let ttl = match (options.mode, &key) {
        (Mode::Key { .. }, _) if !is_key_signed(signed) => {
            return Err(misconfigured(
                "the verifier above SubmitOnceLayer does not sign idempotency-key: give both the same scheme",
            ));
        }
        (_, Some(_)) => options.key_ttl,
        (Mode::Key { is_optional: true }, None) => return Ok(None),
        (Mode::Key { is_optional: false }, None) => {
            let advice =
                "this route needs a key of the client's for each submission: send one, the same for each retry";
            return Err(Rejection::missing(IDEMPOTENCY_KEY.as_str(), advice));
        }
        (Mode::Fingerprint { ttl }, None) => ttl,
    };
    let scope = SubmissionScope::of(caller).with_extra(&options.extra(parts)?);
    if caller.token().is_some() && !caller.is_token_checked() && !scope.has_extra() {
        return Err(misconfigured(
            "the token of the request is not checked, so one user of the app could get the answer to another: give the \
             verifier with_tokens or with_token_check, or the SubmitOnceLayer with_scope",
        ));
    }
    let content = &signed.content;
    let fingerprint = Fingerprint::from_bytes(content.fingerprint);
    let at = match &key {
        Some(key) => scope.by_key(&signed.scheme, &content.method, &content.path, key),
        None => scope.by_fingerprint(&signed.scheme, &content.method, &content.path, &fingerprint),
    };
    Ok(Some(Submitted {
        is_replayable: key.is_some() || scope.is_personal(),
        submission: Submission::new(at, key),
        fingerprint,
        ttl,
        has_header: !has_unsigned_key,
    }))
}

fn is_key_signed(signed: &SignedSubmission) -> bool {
    signed.scheme.signed_headers().contains(&IDEMPOTENCY_KEY)
}

fn key(parts: &Parts) -> Result<Option<IdempotencyKey>, Rejection> {
    let value = single(&parts.headers, &IDEMPOTENCY_KEY)?;
    value.map(IdempotencyKey::parse).transpose().in_field(IDEMPOTENCY_KEY.as_str())
}

fn misconfigured(detail: &'static str) -> Rejection {
    Rejection::new(RejectionKind::Misconfigured, detail)
}
