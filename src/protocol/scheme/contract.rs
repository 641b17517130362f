//! The configuration that both ends share: names, locations, audience, signed headers.

use std::borrow::Cow;

use http::{HeaderName, header};

use crate::protocol::{
    encode::{percent, segment::Text},
    field::value::Field,
    scheme::{
        audience::Audience, error::SchemeError, headers::HeaderTable, links::LinkScheme,
        parameter_names::FieldParameters, response_headers::ResponseHeaders, secret_headers::SecretHeaders,
    },
};

/// The location of the app id, timestamp, nonce, token and signature in a request. The body digest is always a header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldLocation {
    /// In headers. Query parameters with the fields' names are ordinary parameters.
    #[default]
    Headers,
    /// In the query. The verifier removes these parameters before the service gets the request.
    Query,
    /// Verifiers accept headers or the query, but not both in one request. Signers write headers.
    Either,
}

/// The location of the token. Tokens in other locations are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenLocation {
    /// In its field: `x-token`, or `token` in a query.
    #[default]
    Field,
    /// In `Authorization: Bearer`.
    Bearer,
    /// In the cookie with this name. The string to sign then contains a digest of the token, because a page cannot read
    /// an `HttpOnly` cookie. See PROTOCOL.md.
    Cookie(String),
    /// In its field, or in the cookie with this name: for services with native and browser clients on the same routes. If a
    /// request has both, the field counts, and the verifier removes the cookie before the service gets the request.
    /// Signers write the field.
    FieldOrCookie(String),
}

impl TokenLocation {
    /// Whether the token can be in its field.
    pub(crate) fn is_field(&self) -> bool {
        matches!(self, Self::Field | Self::FieldOrCookie(_))
    }

    /// The name of the cookie that can have the token.
    pub(crate) fn cookie(&self) -> Option<&str> {
        match self {
            Self::Cookie(name) | Self::FieldOrCookie(name) => Some(name),
            Self::Field | Self::Bearer => None,
        }
    }
}

/// The configuration that signers and verifiers share.
///
/// Limits and the tolerance belong to the verifier alone: `Verifier::with_limits`, `Verifier::with_tolerance`.
///
/// ```
/// # use countersign::{Field, Scheme};
/// let scheme = Scheme::new()
///     .with_audience("api.example.com")?
///     .with_signed_headers([http::HeaderName::from_static("idempotency-key")])?
///     .with_header_name(Field::AppId, http::HeaderName::from_static("x-client"))?;
/// # Ok::<(), countersign::SchemeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Scheme {
    headers: HeaderTable,
    parameters: FieldParameters,
    field_location: FieldLocation,
    token_location: TokenLocation,
    audience: Audience,
    signed_headers: Vec<HeaderName>,
    sensitive_headers: Vec<HeaderName>,
    /// The sensitive headers, and those of the signature and the token.
    secret_headers: SecretHeaders,
    links: LinkScheme,
    response_headers: ResponseHeaders,
}

impl Scheme {
    /// Makes a scheme with the protocol's defaults: the field names of PROTOCOL.md, fields in headers, no audience, no
    /// signed headers.
    #[must_use]
    pub fn new() -> Self {
        Self {
            headers: HeaderTable::default(),
            parameters: FieldParameters::protocol(),
            field_location: FieldLocation::default(),
            token_location: TokenLocation::default(),
            audience: Audience::default(),
            signed_headers: Vec::new(),
            sensitive_headers: vec![header::AUTHORIZATION, header::PROXY_AUTHORIZATION],
            secret_headers: SecretHeaders::default(),
            links: LinkScheme::new(),
            response_headers: ResponseHeaders::default(),
        }
        .with_secret_headers()
    }

    /// Sets the audience, which is the name of the service. A request that was signed for one service is rejected by
    /// another. Default: empty.
    ///
    /// # Errors
    ///
    /// Fails if the audience has more than 255 bytes, or contains anything except visible ASCII.
    pub fn with_audience(mut self, audience: impl Into<String>) -> Result<Self, SchemeError> {
        self.audience = Audience::new(audience)?;
        Ok(self)
    }

    /// Sets the additional headers to sign, in any order. Default: none.
    ///
    /// # Errors
    ///
    /// Fails if a name occurs twice, or is that of a field, `content-type`, `content-length`, `cookie` or a hop-by-hop
    /// header (`connection`, `keep-alive`, `proxy-connection`, `te`, `trailer`, `transfer-encoding`, `upgrade`).
    pub fn with_signed_headers(mut self, names: impl IntoIterator<Item = HeaderName>) -> Result<Self, SchemeError> {
        self.signed_headers = names.into_iter().collect();
        self.signed_headers.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        self.checked()
    }

    /// Names further headers whose values are secret, for example a one-time password. Default: `authorization` and
    /// `proxy-authorization`, which always are.
    ///
    /// If such a header is signed, an [`Explanation`](crate::Explanation) shows its name in place of its value. The
    /// verifier marks its value as [sensitive](http::HeaderValue::is_sensitive).
    #[must_use]
    pub fn with_sensitive_headers(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.sensitive_headers.extend(names);
        self.with_secret_headers()
    }

    /// Sets the location of the fields. Default: headers.
    #[must_use]
    pub fn with_field_location(mut self, location: FieldLocation) -> Self {
        self.field_location = location;
        self
    }

    /// Sets the location of the token. Default: its field.
    ///
    /// # Errors
    ///
    /// Fails if the cookie's name is not a token of RFC 9110.
    pub fn with_token_location(mut self, location: TokenLocation) -> Result<Self, SchemeError> {
        self.token_location = location;
        self.checked()
    }

    /// Renames a field's header, for services that already use other names.
    ///
    /// # Errors
    ///
    /// Fails if the name has another meaning in HTTP, if proxies remove the header, if the header overrides the method
    /// or URL, if another field has the name, or if the name is a [signed header](Self::with_signed_headers).
    pub fn with_header_name(mut self, field: Field, name: HeaderName) -> Result<Self, SchemeError> {
        self.headers.rename(field, name);
        self.checked()
    }

    /// Renames a field's query parameter.
    ///
    /// # Errors
    ///
    /// Fails if the name is empty, if another field has it, or if the field is the body digest, which is always a
    /// header.
    pub fn with_parameter_name(
        mut self,
        field: Field,
        name: impl Into<Cow<'static, str>>,
    ) -> Result<Self, SchemeError> {
        let name = name.into();
        match self.parameters.get_mut(field) {
            Some(current) => *current = name,
            None => return Err(SchemeError::ParameterName(name.into_owned())),
        }
        self.checked()
    }

    /// Sets what signers and verifiers of share links agree on. Default: [`LinkScheme::new`]. Verifiers take links only with
    /// `Verifier::with_links`.
    ///
    /// # Errors
    ///
    /// Fails if a parameter of a link has the name of a field, or if a parameter that is not signed has one of these names.
    pub fn with_links(mut self, links: LinkScheme) -> Result<Self, SchemeError> {
        self.links = links;
        self.checked()
    }

    /// Sets the further headers that the signature of a response covers, in any order, for example `location`. Default: none.
    ///
    /// Only services that sign their responses, and clients that check them, use this list. Several values of one header are
    /// joined by `, `.
    ///
    /// ```
    /// # use countersign::Scheme;
    /// let scheme = Scheme::new().with_signed_response_headers([http::header::LOCATION])?;
    /// assert!(Scheme::new().with_signed_response_headers([http::header::SET_COOKIE]).is_err());
    /// # Ok::<(), countersign::SchemeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails if a name occurs twice, or is `set-cookie`, `date`, a hop-by-hop header, a header of the signature
    /// (`x-response-timestamp`, `x-response-content-sha256`, `x-response-sign`), `content-type`, `content-length`,
    /// `content-encoding` or `content-range`.
    pub fn with_signed_response_headers(
        mut self,
        names: impl IntoIterator<Item = HeaderName>,
    ) -> Result<Self, SchemeError> {
        self.response_headers = ResponseHeaders::new(names)?;
        Ok(self)
    }

    fn checked(self) -> Result<Self, SchemeError> {
        if let Some((name, reason)) = self.headers.unusable() {
            return Err(SchemeError::HeaderName { name: name.clone(), reason });
        }
        for (i, name) in self.signed_headers.iter().enumerate() {
            let is_repeated = i > 0 && self.signed_headers[i - 1] == *name;
            let reason = self.headers.unsignable(name).or(is_repeated.then_some("it is in the list twice"));
            if let Some(reason) = reason {
                return Err(SchemeError::SignedHeader { name: name.clone(), reason });
            }
        }
        if let Some(name) = self.parameters.unusable() {
            return Err(SchemeError::ParameterName(name.to_owned()));
        }
        if let Some(name) = self.links.unusable(&self.parameters) {
            return Err(SchemeError::LinkParameter(name.to_owned()));
        }
        match self.token_location.cookie() {
            Some(name) if HeaderName::from_bytes(name.as_bytes()).is_err() => {
                Err(SchemeError::CookieName(name.to_owned()))
            }
            _ => Ok(self.with_secret_headers()),
        }
    }

    /// Collects the headers whose values are secret, after the configuration has changed.
    fn with_secret_headers(mut self) -> Self {
        let token = self.token_location.is_field().then(|| self.headers.name(Field::Token));
        let bearer = (self.token_location == TokenLocation::Bearer).then_some(&header::AUTHORIZATION);
        let cookie = self.token_location.cookie().map(|_| &header::COOKIE);
        let others = [token, bearer, cookie, Some(self.headers.name(Field::Sign))].into_iter().flatten();
        self.secret_headers = SecretHeaders::new(self.sensitive_headers.iter().chain(others).cloned());
        self
    }

    /// Returns the name of the service, or an empty text.
    #[must_use]
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// Returns the name of a field's header.
    #[must_use]
    pub fn header_name(&self, field: Field) -> &HeaderName {
        self.headers.name(field)
    }

    /// Returns the name of a field's query parameter, or `None` for the body digest.
    #[must_use]
    pub fn parameter_name(&self, field: Field) -> Option<&str> {
        self.parameters.get(field).map(|name| &**name)
    }

    /// Returns the location of the fields.
    #[must_use]
    pub fn field_location(&self) -> FieldLocation {
        self.field_location
    }

    /// The location of the token.
    #[must_use]
    pub fn token_location(&self) -> &TokenLocation {
        &self.token_location
    }

    /// Returns the additional signed headers, in ascending order.
    #[must_use]
    pub fn signed_headers(&self) -> &[HeaderName] {
        &self.signed_headers
    }

    /// Returns the further headers that the signature of a response covers, in ascending order.
    #[must_use]
    pub fn signed_response_headers(&self) -> &[HeaderName] {
        self.response_headers.names()
    }

    /// Returns what signers and verifiers of share links agree on.
    #[must_use]
    pub fn links(&self) -> &LinkScheme {
        &self.links
    }

    pub(crate) fn is_sensitive(&self, name: &HeaderName) -> bool {
        self.sensitive_headers.contains(name)
    }

    #[cfg(feature = "server")]
    pub(crate) fn secret_headers(&self) -> &SecretHeaders {
        &self.secret_headers
    }

    pub(crate) fn header_table(&self) -> &HeaderTable {
        &self.headers
    }

    /// The parameter names of fields, if fields may be in the query.
    pub(crate) fn query_fields(&self) -> Option<&FieldParameters> {
        (self.field_location != FieldLocation::Headers).then_some(&self.parameters)
    }

    /// Whether the parameter of a query is a field, which has its own line in the string to sign.
    pub(crate) fn is_query_field(&self, parameter: Text<'_>) -> bool {
        self.query_fields().is_some_and(|fields| fields.find(parameter).is_some())
    }

    /// Whether the parameter of a share link has no place in line 5: it is a field, or left out of the signature.
    pub(crate) fn is_unsigned_in_link(&self, parameter: Text<'_>) -> bool {
        let is_left_out = |name: &[u8]| self.parameters.find_decoded(name).is_some() || self.links.leaves_out(name);
        !parameter.is_broken() && is_left_out(&percent::decoded(parameter.raw()))
    }

    /// Whether the parameter of a share link does not reach the service.
    #[cfg(feature = "server")]
    pub(crate) fn is_removed_from_link(&self, parameter: Text<'_>) -> bool {
        let is_removed = |name: &[u8]| self.links.find(&self.parameters, name).is_some() || self.links.leaves_out(name);
        !parameter.is_broken() && is_removed(&percent::decoded(parameter.raw()))
    }

    pub(crate) fn field_parameters(&self) -> &FieldParameters {
        &self.parameters
    }
}

impl Default for Scheme {
    fn default() -> Self {
        Self::new()
    }
}
