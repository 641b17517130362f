//! The signer's pure part: a request, a moment and a nonce in, a signed request out.

use std::{borrow::Cow, fmt, sync::Arc};

use http::{
    HeaderValue, Uri,
    header::{self, InvalidHeaderValue},
    request::Parts,
};

use super::{
    canonical::{CanonicalRequest, StringToSign},
    carrier::{self, Carried},
    claim::Claim,
    content_type::ContentType,
    field::{AppId, BodyDigest, Field, Nonce, Timestamp, Token},
    mac,
    params::ParameterList,
    rejection::{BoxError, Rejection},
    scheme::Scheme,
    secret::{Key, Secret},
    token::TokenClaim,
};

/// Signs requests for one app.
///
/// Sign a request as it is sent: after everything that rewrites its method, URL, content type or body. What it carries
/// of an earlier signature is replaced. Clones share the key.
///
/// ```
/// # use countersign::{Payload, Secret, Signer};
/// let signer = Signer::new("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?);
///
/// let (mut parts, ()) = http::Request::get("/orders?side=BUY").body(())?.into_parts();
/// let (timestamp, nonce) = ("1700000000".parse()?, "4f3c2b1a0d9e8f7a6b5c4d3e2f1a0b9c".parse()?);
/// signer.sign_at(&mut parts, Payload::Bytes(b""), timestamp, nonce)?;
/// assert_eq!(parts.headers["x-app-id"], "demo");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Signer {
    app_id: AppId,
    key: Arc<Key>,
    token: Option<Token>,
    scheme: Arc<Scheme>,
}

/// What the body of a request to be signed is.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// These bytes. None at all is a request without a body.
    Bytes(&'a [u8]),
    /// Something with this digest: a file for example, whose bytes are elsewhere. A form cannot be signed so, for its
    /// parameters are signed too.
    Digest(BodyDigest),
}

impl Signer {
    /// A signer with the protocol's defaults.
    #[must_use]
    pub fn new(app_id: AppId, secret: Secret) -> Self {
        Self { app_id, key: Arc::new(Key::new(secret)), token: None, scheme: Arc::new(Scheme::new()) }
    }

    /// Signs as the verifier is configured. Default: [`Scheme::new`].
    #[must_use]
    pub fn with_scheme(self, scheme: Scheme) -> Self {
        Self { scheme: Arc::new(scheme), ..self }
    }

    /// Sends this token with every request. Default: the token that a request carries already, if any.
    #[must_use]
    pub fn with_token(self, token: Token) -> Self {
        Self { token: Some(token), ..self }
    }

    /// What it has agreed on with the verifier.
    #[must_use]
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// Signs a request's head for a body that is elsewhere, with a timestamp and a nonce of the caller's.
    ///
    /// This is the signer for platforms without a clock or a random source. The verifier accepts a nonce once; two
    /// requests of one app must not share it.
    ///
    /// # Errors
    ///
    /// No verifier could accept the request: its content type or an escape in its parameters is malformed, for
    /// example. The request may have lost the fields of an earlier signature then.
    pub fn sign_at(
        &self,
        parts: &mut Parts,
        payload: Payload<'_>,
        timestamp: Timestamp,
        nonce: Nonce,
    ) -> Result<(), SignError> {
        let token = self.prepare(parts, payload)?;
        let sign =
            self.with_string(parts, payload, &token, timestamp, &nonce, |string| mac::seal(&self.key, string))?;
        let app_id = self.app_id;
        let claim = Claim { app_id, timestamp, nonce, token, sign };
        Ok(claim.write(&self.scheme, parts)?)
    }

    /// The string that [`sign_at`](Signer::sign_at) signs, with `{key}` in the key's place: for comparing with another
    /// implementation, line by line. It holds the token.
    ///
    /// # Errors
    ///
    /// Those of [`sign_at`](Signer::sign_at).
    pub fn string_to_sign_at(
        &self,
        parts: &Parts,
        payload: Payload<'_>,
        timestamp: Timestamp,
        nonce: Nonce,
    ) -> Result<String, SignError> {
        let mut parts = parts.clone();
        let token = self.prepare(&mut parts, payload)?;
        self.with_string(&parts, payload, &token, timestamp, &nonce, |string| string.to_string())
    }

    /// Puts everything in its place but the fields, which are known only when the rest is signed.
    fn prepare(&self, parts: &mut Parts, payload: Payload<'_>) -> Result<TokenClaim, SignError> {
        let fields = Carried::of_signer(&self.scheme, &parts.uri, &parts.headers)?;
        let token = match &self.token {
            Some(token) => TokenClaim::new(&self.scheme, Some(token.clone())),
            None => TokenClaim::extract(&self.scheme, &fields, &parts.headers)?,
        };
        self.refuse_ambiguous_host(parts)?;
        carrier::remove(&self.scheme, parts)?;
        token.write_elsewhere(&self.scheme, &mut parts.headers)?;
        let is_form = ContentType::read(&parts.headers)?.is_form();
        let digest = match payload {
            // A form without parameters is refused unless its digest says that it is meant.
            Payload::Bytes(bytes) => (is_form || !bytes.is_empty()).then(|| BodyDigest::of(bytes)),
            Payload::Digest(_) if is_form => {
                return Err(SignError::without_source("a form is signed by its parameters: sign it as Payload::Bytes"));
            }
            Payload::Digest(digest) => Some(digest),
        };
        let name = self.scheme.header_name(Field::BodyDigest);
        match digest {
            Some(digest) => {
                let value = HeaderValue::from_bytes(digest.to_hex().as_bytes())?;
                parts.headers.insert(name, value);
            }
            None => {
                parts.headers.remove(name);
            }
        }
        Ok(token)
    }

    /// A Host header of the caller's own is what clients send, whatever the URL says. Without one, some clients drop a
    /// default port and user info on their way to the wire, and some do not.
    fn refuse_ambiguous_host(&self, parts: &Parts) -> Result<(), SignError> {
        let default_port = match parts.uri.scheme_str() {
            Some("http") => Some(80),
            Some("https") => Some(443),
            _ => None,
        };
        let authority = match parts.uri.authority() {
            Some(authority) if !parts.headers.contains_key(header::HOST) => authority,
            _ => return Ok(()),
        };
        let is_ambiguous =
            authority.as_str().contains('@') || authority.port_u16().is_some_and(|p| Some(p) == default_port);
        if is_ambiguous && self.scheme.signed_headers().contains(&header::HOST) {
            return Err(SignError::without_source(
                "the host is signed: leave user info and a default port out of the URL",
            ));
        }
        Ok(())
    }

    fn uri_as_sent(&self, parts: &Parts) -> Uri {
        match parts.uri.path_and_query() {
            Some(target) if parts.headers.contains_key(header::HOST) => Uri::from(target.clone()),
            _ => parts.uri.clone(),
        }
    }

    fn with_string<T>(
        &self,
        parts: &Parts,
        payload: Payload<'_>,
        token: &TokenClaim,
        timestamp: Timestamp,
        nonce: &Nonce,
        then: impl FnOnce(&StringToSign<'_, '_, '_>) -> T,
    ) -> Result<T, SignError> {
        let uri = self.uri_as_sent(parts);
        let mut request = CanonicalRequest::read(&self.scheme, "", &uri, parts)?;
        request.read_query(&self.scheme, &uri)?;
        let form = match payload {
            Payload::Bytes(body) if request.is_form() => ParameterList::of_form(body, self.scheme.limits().parameters)?,
            _ => ParameterList::default(),
        };
        Ok(then(&StringToSign {
            request: &request,
            form: &form,
            app_id: &self.app_id,
            token: token.line(),
            timestamp,
            nonce,
        }))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("app_id", &self.app_id).finish_non_exhaustive()
    }
}

/// A request could not be signed.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct SignError {
    reason: Cow<'static, str>,
    source: Option<BoxError>,
}

impl SignError {
    pub(crate) fn new(reason: impl Into<Cow<'static, str>>, source: impl Into<BoxError>) -> Self {
        Self { reason: reason.into(), source: Some(source.into()) }
    }

    fn without_source(reason: &'static str) -> Self {
        Self { reason: reason.into(), source: None }
    }
}

impl From<Rejection> for SignError {
    fn from(rejection: Rejection) -> Self {
        let reason = format!("no verifier would accept this request: {}", rejection.detail());
        Self::new(reason, rejection)
    }
}

impl From<http::Error> for SignError {
    fn from(error: http::Error) -> Self {
        Self::new("the request's URL cannot carry the fields", error)
    }
}

impl From<InvalidHeaderValue> for SignError {
    fn from(error: InvalidHeaderValue) -> Self {
        Self::new("the request's headers cannot carry the token", error)
    }
}
