//! What both ends agree on beforehand: names, places, audience, signed headers.

use std::borrow::Cow;

use http::HeaderName;

use crate::protocol::{
    field::value::Field,
    scheme::{headers::HeaderTable, parameter_names::FieldParameters},
};

/// Where the five fields travel. The body digest is a header in every case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldLocation {
    /// In headers. The fields' names in a query are ordinary parameters.
    #[default]
    Headers,
    /// In the query, from which the verifier removes them before the service sees it.
    Query,
    /// Verifiers take both, one at a time; signers write headers.
    Either,
}

/// Where the token travels. The other places are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenLocation {
    /// In its field: `x-token`, or `token` in a query.
    #[default]
    Field,
    /// In `Authorization: Bearer`.
    Bearer,
    /// In the cookie of this name. Then the string to sign holds a digest of it, since a page cannot read an `HttpOnly`
    /// cookie: see PROTOCOL.md.
    Cookie(String),
}

/// The configuration that signers and verifiers share.
///
/// Limits and the tolerance of timestamps are the verifier's own: `Verifier::with_limits`,
/// `Verifier::with_tolerance`.
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
    audience: String,
    signed_headers: Vec<HeaderName>,
}

impl Scheme {
    /// The protocol's defaults: its names, headers as carrier, no audience, no signed headers.
    #[must_use]
    pub fn new() -> Self {
        Self {
            headers: HeaderTable::default(),
            parameters: FieldParameters::protocol(),
            field_location: FieldLocation::default(),
            token_location: TokenLocation::default(),
            audience: String::new(),
            signed_headers: Vec::new(),
        }
    }

    /// Names the service that requests are for, so that a request for one service is worth nothing at another.
    /// Default: empty.
    ///
    /// # Errors
    ///
    /// More than 255 bytes, or anything but visible ASCII.
    pub fn with_audience(mut self, audience: impl Into<String>) -> Result<Self, SchemeError> {
        self.audience = audience.into();
        if self.audience.len() > 255 || !self.audience.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(SchemeError::Audience);
        }
        Ok(self)
    }

    /// Headers that are signed beside the rest, in any order. Default: none.
    ///
    /// # Errors
    ///
    /// The fields, `content-type`, `content-length`, `cookie` and the headers of one hop (`connection`, `keep-alive`,
    /// `proxy-connection`, `te`, `trailer`, `transfer-encoding`, `upgrade`) cannot be signed headers, nor a name twice.
    pub fn with_signed_headers(mut self, names: impl IntoIterator<Item = HeaderName>) -> Result<Self, SchemeError> {
        self.signed_headers = names.into_iter().collect();
        self.signed_headers.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        self.checked()
    }

    /// Where the fields travel. Default: headers.
    #[must_use]
    pub fn with_field_location(mut self, location: FieldLocation) -> Self {
        self.field_location = location;
        self
    }

    /// Where the token travels. Default: its field.
    ///
    /// # Errors
    ///
    /// A cookie's name is a token of RFC 9110.
    pub fn with_token_location(mut self, location: TokenLocation) -> Result<Self, SchemeError> {
        self.token_location = location;
        self.checked()
    }

    /// Renames a field's header, for services that have names already.
    ///
    /// # Errors
    ///
    /// The name has another meaning in HTTP, proxies remove such a header, it overrides the method or URL, another field has
    /// it, or it is a signed header.
    pub fn with_header_name(mut self, field: Field, name: HeaderName) -> Result<Self, SchemeError> {
        self.headers.rename(field, name);
        self.checked()
    }

    /// Renames a field's query parameter.
    ///
    /// # Errors
    ///
    /// The name is empty, another field has it, or the field is the body digest, which is a header in any case.
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
        match &self.token_location {
            TokenLocation::Cookie(name) if HeaderName::from_bytes(name.as_bytes()).is_err() => {
                Err(SchemeError::CookieName(name.clone()))
            }
            _ => Ok(self),
        }
    }

    /// Whose requests these are, or empty.
    #[must_use]
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// The header that a field travels in.
    #[must_use]
    pub fn header_name(&self, field: Field) -> &HeaderName {
        self.headers.name(field)
    }

    /// The query parameter that a field travels in; the body digest has none.
    #[must_use]
    pub fn parameter_name(&self, field: Field) -> Option<&str> {
        self.parameters.get(field).map(|name| &**name)
    }

    /// Where the fields travel.
    #[must_use]
    pub fn field_location(&self) -> FieldLocation {
        self.field_location
    }

    /// Where the token travels.
    #[must_use]
    pub fn token_location(&self) -> &TokenLocation {
        &self.token_location
    }

    /// Headers that are signed beside the rest, in ascending order.
    #[must_use]
    pub fn signed_headers(&self) -> &[HeaderName] {
        &self.signed_headers
    }

    pub(crate) fn header_table(&self) -> &HeaderTable {
        &self.headers
    }

    /// The names that are fields, and no parameters, in a query.
    pub(crate) fn query_fields(&self) -> Option<&FieldParameters> {
        (self.field_location != FieldLocation::Headers).then_some(&self.parameters)
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

/// A [`Scheme`] that would not be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemeError {
    /// The audience is too long or not visible ASCII.
    #[error("the audience: expected at most 255 visible ASCII characters")]
    Audience,
    /// A field cannot travel in this header.
    #[error("header {name:?} cannot carry a field: {reason}")]
    HeaderName {
        /// The header.
        name: HeaderName,
        /// Why not, for people.
        reason: &'static str,
    },
    /// This header cannot be signed.
    #[error("header {name:?} cannot be a signed header: {reason}")]
    SignedHeader {
        /// The header.
        name: HeaderName,
        /// Why not, for people.
        reason: &'static str,
    },
    /// A field cannot travel in this parameter.
    #[error(
        "query parameter {0:?}: the name is empty, is another field already, or is for the digest, which is a header"
    )]
    ParameterName(String),
    /// There is no such cookie.
    #[error("cookie {0:?}: expected a cookie's name, letters, digits and a few signs")]
    CookieName(String),
}
