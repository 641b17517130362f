//! What signers and verifiers of share links agree on.

use std::borrow::Cow;

use super::{audience::Audience, error::SchemeError, parameter_names::FieldParameters};
use crate::protocol::field::value::Field;

/// What signers and verifiers of share links agree on: the audience, the names of two parameters, and parameters that
/// are not signed. It is a part of the [`Scheme`](crate::Scheme).
///
/// ```
/// # use countersign::{LinkScheme, Scheme};
/// let links = LinkScheme::new().with_audience("files.example.com")?.without(LinkScheme::TRACKING);
/// let scheme = Scheme::new().with_audience("api.example.com")?.with_links(links)?;
/// # Ok::<(), countersign::SchemeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct LinkScheme {
    audience: Option<Audience>,
    expires: Cow<'static, str>,
    grant: Cow<'static, str>,
    without: Vec<Cow<'static, str>>,
}

/// A parameter that only the protocol reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkParameter {
    Field(Field),
    Expires,
    Grant,
}

impl LinkScheme {
    /// Parameters that mailers, advertisers and social sites add to links. For [`without`](Self::without).
    pub const TRACKING: [&'static str; 22] = [
        "_hsenc",
        "_hsmi",
        "dclid",
        "fbclid",
        "gbraid",
        "gclid",
        "igshid",
        "li_fat_id",
        "mc_cid",
        "mc_eid",
        "mkt_tok",
        "msclkid",
        "ttclid",
        "twclid",
        "utm_campaign",
        "utm_content",
        "utm_id",
        "utm_medium",
        "utm_source",
        "utm_term",
        "wbraid",
        "yclid",
    ];

    /// Makes the protocol's defaults: the audience of the [`Scheme`](crate::Scheme), the parameters `expires` and `grant`,
    /// and every parameter is signed.
    #[must_use]
    pub fn new() -> Self {
        Self { audience: None, expires: "expires".into(), grant: "grant".into(), without: Vec::new() }
    }

    /// Sets the audience of links. Services that take each other's links have the same one. Default: the audience of the
    /// scheme.
    ///
    /// # Errors
    ///
    /// Fails if the audience has more than 255 bytes, or contains anything except visible ASCII.
    pub fn with_audience(self, audience: impl Into<String>) -> Result<Self, SchemeError> {
        Ok(Self { audience: Some(Audience::new(audience)?), ..self })
    }

    /// Renames the parameter for the lifetime. Default: `expires`.
    #[must_use]
    pub fn with_expires_name(self, name: impl Into<Cow<'static, str>>) -> Self {
        Self { expires: name.into(), ..self }
    }

    /// Renames the parameter for the grant. Default: `grant`.
    #[must_use]
    pub fn with_grant_name(self, name: impl Into<Cow<'static, str>>) -> Self {
        Self { grant: name.into(), ..self }
    }

    /// Leaves these parameters out of the signature. The verifier removes them before the service gets the request.
    /// Default: none. [`TRACKING`](Self::TRACKING) has those that other sites often add to links.
    #[must_use]
    pub fn without(mut self, names: impl IntoIterator<Item = impl Into<Cow<'static, str>>>) -> Self {
        self.without.extend(names.into_iter().map(Into::into));
        self
    }

    /// Returns the name of the parameter for the lifetime.
    #[must_use]
    pub fn expires_name(&self) -> &str {
        &self.expires
    }

    /// Returns the name of the parameter for the grant.
    #[must_use]
    pub fn grant_name(&self) -> &str {
        &self.grant
    }

    /// The audience, if it is not that of the scheme.
    pub(crate) fn audience(&self) -> Option<&str> {
        self.audience.as_deref()
    }

    /// Whether the parameter with this decoded name is not signed.
    pub(crate) fn leaves_out(&self, name: &[u8]) -> bool {
        self.without.iter().any(|left_out| left_out.as_bytes() == name)
    }

    /// The parameter with this decoded name, of those that only the protocol reads.
    pub(crate) fn find(&self, fields: &FieldParameters, name: &[u8]) -> Option<LinkParameter> {
        if name == self.expires.as_bytes() {
            return Some(LinkParameter::Expires);
        }
        if name == self.grant.as_bytes() {
            return Some(LinkParameter::Grant);
        }
        fields.find_decoded(name).map(LinkParameter::Field)
    }

    /// Returns a name that cannot be used.
    pub(super) fn unusable(&self, fields: &FieldParameters) -> Option<&str> {
        let is_field = |name: &str| fields.find_decoded(name.as_bytes()).is_some();
        let own = [&self.expires, &self.grant];
        let is_own = |name: &str| own.iter().any(|own| **own == name);
        let own_unusable = own.into_iter().find(|name| name.is_empty() || is_field(name) || self.expires == self.grant);
        let unusable = || self.without.iter().find(|name| name.is_empty() || is_field(name) || is_own(name));
        own_unusable.or_else(unusable).map(|name| &**name)
    }
}

impl Default for LinkScheme {
    fn default() -> Self {
        Self::new()
    }
}
