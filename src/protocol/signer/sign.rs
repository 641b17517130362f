//! The pure part of the signer: it signs a request with a given timestamp and nonce.

use std::{fmt, sync::Arc};

use http::{HeaderValue, header, request::Parts, uri::Authority};

use crate::protocol::{
    canonical::{
        content_type::ContentType,
        string_to_sign::{Head, Root, StringToSign, uri_as_sent},
    },
    claim::{
        fields::{Claim, Fields},
        location::{self, FieldSource},
        token::TokenClaim,
    },
    field::{
        digest::{BodyDigest, Signature},
        value::{AppId, Field, Nonce, Timestamp, Token},
    },
    key::{
        app_key::{Key, SignedBy},
        secret::Secret,
    },
    scheme::contract::Scheme,
    signer::error::{SignError, SignErrorKind},
    verify::mac,
};

/// Signs requests for one app.
///
/// Sign a request last, after every step that changes its method, URL, content type or body. The fields of an earlier
/// signature are replaced. Clones share the key.
///
/// A `CONNECT` request with a path opens a WebSocket over HTTP/2 (RFC 8441). It is signed as `GET`, like the handshake
/// of HTTP/1.1. A plain `CONNECT` cannot be signed.
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
    signed_by: SignedBy,
    token: Option<Token>,
    scheme: Arc<Scheme>,
    #[cfg(feature = "client")]
    pub(crate) clock: Arc<dyn crate::clock::Clock>,
}

/// The body of a request to be signed.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Payload<'a> {
    /// The bytes of the body. An empty slice is a request without a body.
    Bytes(&'a [u8]),
    /// The digest of a body that is not in memory, for example of a file. A form cannot be signed this way, because its
    /// parameters are signed too.
    Digest(BodyDigest),
}

impl Signer {
    /// Makes a signer with the protocol's defaults.
    #[must_use]
    pub fn new(app_id: AppId, secret: Secret) -> Self {
        Self {
            app_id,
            key: Arc::new(Key::from(secret)),
            signed_by: SignedBy::AppKey,
            token: None,
            scheme: Arc::new(Scheme::new()),
            #[cfg(feature = "client")]
            clock: Arc::new(crate::clock::SystemClock::new()),
        }
    }

    /// Makes a signer for a browser or a phone, which holds no key of the app: it signs with the key of a session, and
    /// sends the session's token. The service gives both at the login.
    ///
    /// Give the text of the session key, 64 hex digits, to [`Secret::new`]. Do not decode it.
    #[must_use]
    pub fn for_session(app_id: AppId, token: Token, session_key: impl Into<Secret>) -> Self {
        Self { signed_by: SignedBy::SessionKey, token: Some(token), ..Self::new(app_id, session_key.into()) }
    }

    /// Sets the scheme. It must be the verifier's scheme. Default: [`Scheme::new`].
    #[must_use]
    pub fn with_scheme(self, scheme: Scheme) -> Self {
        Self { scheme: Arc::new(scheme), ..self }
    }

    /// Sends and signs this token with every request. Default: the signer signs the token that a request already has in
    /// its token location, if any.
    #[must_use]
    pub fn with_token(self, token: Token) -> Self {
        Self { token: Some(token), ..self }
    }

    /// Returns the id of the app whose requests this signer signs.
    #[must_use]
    pub fn app_id(&self) -> &AppId {
        &self.app_id
    }

    /// Returns the scheme that the signer shares with the verifier.
    #[must_use]
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    pub(in crate::protocol) fn signed_by(&self) -> SignedBy {
        self.signed_by
    }

    pub(in crate::protocol) fn key(&self) -> &Key {
        &self.key
    }

    /// Makes a signer of responses to a request that this key of the app, or of a session, has signed.
    #[cfg(feature = "server")]
    pub(in crate::protocol) fn of_responses(app_id: AppId, key: Key, signed_by: SignedBy, scheme: Arc<Scheme>) -> Self {
        let key = Arc::new(key);
        #[cfg(feature = "client")]
        let clock = Arc::new(crate::clock::SystemClock::new());
        Self {
            app_id,
            key,
            signed_by,
            token: None,
            scheme,
            #[cfg(feature = "client")]
            clock,
        }
    }

    pub(super) fn mac(&self, string: &StringToSign<'_>) -> Signature {
        mac::sign(&self.key, self.signed_by, string)
    }

    /// Signs a request's head with this timestamp and this nonce.
    ///
    /// Use it on platforms without a clock or a random source. The verifier accepts each nonce once, so two requests of
    /// one app must not have the same nonce.
    ///
    /// # Errors
    ///
    /// Fails if no verifier could accept the request. For example, its content type or an escape in its parameters is
    /// malformed, or the host is signed and the request does not contain it. If it fails, the fields of an earlier
    /// signature may be gone from the request.
    pub fn sign_at(
        &self,
        parts: &mut Parts,
        payload: Payload<'_>,
        timestamp: Timestamp,
        nonce: Nonce,
    ) -> Result<(), SignError> {
        let fields = self.prepare(parts, payload, timestamp, nonce)?;
        let sign = self.with_string(parts, payload, &fields, |string| self.mac(string))?;
        Claim::new(fields, sign).write(&self.scheme, parts).map_err(SignError::unwritable)
    }

    /// Signs like [`sign_at`](Self::sign_at), and returns the string to sign with `{key}` in place of the key, and the
    /// signature.
    #[cfg(feature = "client")]
    pub(crate) fn sign_and_keep(
        &self,
        parts: &mut Parts,
        payload: Payload<'_>,
        timestamp: Timestamp,
        nonce: Nonce,
    ) -> Result<(Vec<u8>, Signature), SignError> {
        let fields = self.prepare(parts, payload, timestamp, nonce)?;
        let (sign, text) = self.with_string(parts, payload, &fields, |string| {
            let mut text = Vec::with_capacity(256);
            string.write(&mut text);
            (self.mac(string), text)
        })?;
        Claim::new(fields, sign).write(&self.scheme, parts).map_err(SignError::unwritable)?;
        Ok((text, sign))
    }

    /// Returns the string that [`sign_at`](Signer::sign_at) signs, with `{key}` in place of the key. Use it to compare
    /// with another implementation, line by line. The string contains the token.
    ///
    /// # Errors
    ///
    /// Fails like [`sign_at`](Signer::sign_at).
    pub fn string_to_sign_at(
        &self,
        parts: &Parts,
        payload: Payload<'_>,
        timestamp: Timestamp,
        nonce: Nonce,
    ) -> Result<String, SignError> {
        let mut parts = parts.clone();
        let fields = self.prepare(&mut parts, payload, timestamp, nonce)?;
        self.with_string(&parts, payload, &fields, |string| string.to_string())
    }

    /// Writes everything except the fields. They are written after the rest is signed.
    fn prepare(
        &self,
        parts: &mut Parts,
        payload: Payload<'_>,
        timestamp: Timestamp,
        nonce: Nonce,
    ) -> Result<Fields, SignError> {
        self.refuse_uncertain_host(parts)?;
        let found = self.scheme.header_table().find_in(&parts.headers);
        let carried = FieldSource::of_signer(&self.scheme, &parts.uri, &found, self.token.is_some())
            .map_err(SignError::refused)?;
        let token = match &self.token {
            Some(token) => TokenClaim::new(&self.scheme, Some(token.clone())),
            None => TokenClaim::extract(&self.scheme, &carried, &parts.headers).map_err(SignError::refused)?,
        };
        location::remove(&self.scheme, parts).map_err(SignError::unwritable)?;
        token.write_elsewhere(&self.scheme, &mut parts.headers).map_err(SignError::unwritable)?;
        self.write_digest(parts, payload)?;
        Ok(Fields { app_id: self.app_id.clone(), timestamp, nonce: Some(nonce), token })
    }

    fn write_digest(&self, parts: &mut Parts, payload: Payload<'_>) -> Result<(), SignError> {
        let found = self.scheme.header_table().find_in(&parts.headers);
        let is_form = ContentType::read(&found).map_err(SignError::refused)?.is_form();
        let digest = match payload {
            // Send the digest of an empty form too. Verifiers of other versions reject the form without it.
            Payload::Bytes(bytes) => (is_form || !bytes.is_empty()).then(|| BodyDigest::of(bytes)),
            Payload::Digest(_) if is_form => {
                return Err(SignError::new(
                    SignErrorKind::Body,
                    "a form is signed by its parameters: sign it as Payload::Bytes",
                ));
            }
            Payload::Digest(digest) => Some(digest),
        };
        let name = self.scheme.header_name(Field::BodyDigest);
        parts.headers.remove(name);
        if let Some(digest) = digest {
            let digest = HeaderValue::from_bytes(digest.to_hex().as_bytes()).map_err(SignError::unwritable)?;
            parts.headers.insert(name, digest);
        }
        Ok(())
    }

    /// Rejects a request whose signed host is uncertain. Clients send an explicit Host header unchanged, whatever the
    /// URL says. Without one, some clients remove a default port and user info, and some do not. If the URL has no
    /// host, only the client knows which host it sends.
    fn refuse_uncertain_host(&self, parts: &Parts) -> Result<(), SignError> {
        if !self.scheme.signed_headers().contains(&header::HOST) || parts.headers.contains_key(header::HOST) {
            return Ok(());
        }
        let Some(authority) = parts.uri.authority() else {
            let reason = "the host is signed, and the request has none yet: sign its whole URL, or set the Host header";
            return Err(SignError::new(SignErrorKind::Url, reason));
        };
        let default_port = match parts.uri.scheme_str() {
            Some("http") => Some(80),
            Some("https") => Some(443),
            _ => None,
        };
        if !authority.as_str().contains('@') && !is_sent_as_written(authority) {
            let reason = "the host is signed, and clients send the URL's port as a number from 0 to 65535 without leading zeros: \
                          write it so, or leave the port and its colon out";
            return Err(SignError::new(SignErrorKind::Url, reason));
        }
        let has_default_port = authority.port_u16().is_some_and(|port| Some(port) == default_port);
        if has_default_port || authority.as_str().contains('@') {
            let reason =
                "the host is signed: leave user info and a default port out of the URL, or set the Host header";
            return Err(SignError::new(SignErrorKind::Url, reason));
        }
        Ok(())
    }

    fn with_string<T>(
        &self,
        parts: &Parts,
        payload: Payload<'_>,
        fields: &Fields,
        then: impl FnOnce(&StringToSign<'_>) -> T,
    ) -> Result<T, SignError> {
        let uri = uri_as_sent(parts);
        let found = self.scheme.header_table().find_in(&parts.headers);
        let head = Head::read(&self.scheme, "", &uri, &parts.method, &found).map_err(SignError::refused)?;
        let is_form = head.is_form();
        let request = head.read_query(&self.scheme, usize::MAX).map_err(SignError::refused)?;
        let request = match payload {
            Payload::Bytes(body) if is_form => request.read_form(usize::MAX, body).map_err(SignError::refused)?,
            _ => request.without_form(),
        };
        Ok(then(&StringToSign { request: &request, fields, root: Root::WithSlash }))
    }
}

/// Whether clients send the authority unchanged. Clients build the Host header from the host and the numeric port.
fn is_sent_as_written(authority: &Authority) -> bool {
    let rest = authority.as_str().strip_prefix(authority.host());
    match (rest, authority.port_u16()) {
        (Some(""), _) => true,
        (Some(rest), Some(port)) => rest.strip_prefix(':') == Some(itoa::Buffer::new().format(port)),
        _ => false,
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("app_id", &self.app_id).finish_non_exhaustive()
    }
}

impl fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({} of them)", bytes.len()),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}
