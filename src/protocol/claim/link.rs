//! The fields of a share link, in its query.

use std::borrow::Cow;

use http::{HeaderMap, Uri};

use crate::protocol::{
    claim::{
        fields::{Claim, Fields, UnreadableClaim},
        location::{QueryFields, REQUIRED},
        token::TokenClaim,
    },
    encode::{
        percent,
        segment::{Text, segments},
    },
    field::{
        digest::Signature,
        error::FieldError,
        lifetime::LinkLifetime,
        value::{AppId, Field, Nonce, Timestamp},
    },
    rejection::{InField, Rejection},
    scheme::{contract::Scheme, links::LinkParameter},
    token::GrantToken,
};

/// The fields of a share link that is not verified yet.
pub(crate) struct LinkClaim {
    pub(crate) claim: Claim,
    pub(crate) lifetime: LinkLifetime,
    /// The text of the record in the token store that can end the link.
    pub(crate) grant: Option<GrantToken>,
}

impl LinkClaim {
    /// Whether the request is a share link, or was one before it lost a parameter.
    pub(crate) fn is_in(scheme: &Scheme, uri: &Uri, headers: &HeaderMap) -> bool {
        let Some(query) = uri.query() else { return false };
        if REQUIRED.into_iter().any(|field| headers.contains_key(scheme.header_name(field))) {
            return false;
        }
        let (mut expires, mut sign, mut others) = (false, false, false);
        for found in parameters(scheme, query) {
            match found.parameter {
                LinkParameter::Expires => expires = true,
                LinkParameter::Field(Field::Sign) => sign = true,
                _ => others = true,
            }
        }
        match (expires, sign) {
            (true, true) => true,
            (true, false) => others,
            // Where the query may carry the fields, a signature without a lifetime is that of a request.
            (false, true) => others && scheme.query_fields().is_none(),
            (false, false) => false,
        }
    }

    /// Reads the fields of a share link.
    pub(crate) fn read(scheme: &Scheme, uri: &Uri) -> Result<Self, UnreadableClaim> {
        let found = LinkFields::read(scheme, uri.query().unwrap_or_default())?;
        found.claim().map_err(|rejection| UnreadableClaim {
            rejection,
            app_id: found.required(Field::AppId, AppId::parse).ok(),
            timestamp: found.required(Field::Timestamp, Timestamp::parse).ok(),
        })
    }
}

/// A parameter that only the protocol reads.
struct FoundParameter<'a> {
    parameter: LinkParameter,
    /// Whether its name begins with `amp;`, because the link was escaped twice.
    is_escaped_twice: bool,
    value: Text<'a>,
}

fn parameters<'a>(scheme: &'a Scheme, query: &'a str) -> impl Iterator<Item = FoundParameter<'a>> {
    segments(query.as_bytes()).filter(|segment| !segment.name().is_broken()).filter_map(|segment| {
        let name = percent::decoded(segment.name().raw());
        let rest = name.strip_prefix(b"amp;");
        let parameter = scheme.links().find(scheme.field_parameters(), rest.unwrap_or(&name))?;
        Some(FoundParameter { parameter, is_escaped_twice: rest.is_some(), value: segment.value() })
    })
}

/// The decoded fields of a share link.
struct LinkFields<'a> {
    scheme: &'a Scheme,
    fields: QueryFields<'a>,
    expires: Option<Cow<'a, [u8]>>,
    grant: Option<Cow<'a, [u8]>>,
    has_escaped_twice: bool,
}

impl<'a> LinkFields<'a> {
    fn read(scheme: &'a Scheme, query: &'a str) -> Result<Self, Rejection> {
        let fields = QueryFields::default();
        let mut found = Self { scheme, fields, expires: None, grant: None, has_escaped_twice: false };
        for FoundParameter { parameter, is_escaped_twice, value } in parameters(scheme, query) {
            if is_escaped_twice {
                found.has_escaped_twice = true;
                continue;
            }
            let name = parameter_name(scheme, parameter);
            if value.is_broken() {
                return Err(Rejection::malformed(name.to_owned(), "a % without two hex digits after it"));
            }
            let slot = match parameter {
                LinkParameter::Expires => Some(&mut found.expires),
                LinkParameter::Grant => Some(&mut found.grant),
                LinkParameter::Field(field) => found.fields.get_mut(field),
            };
            if slot.and_then(|slot| slot.replace(percent::decoded(value.raw()))).is_some() {
                return Err(Rejection::malformed(name.to_owned(), "it is there twice"));
            }
        }
        Ok(found)
    }

    fn claim(&self) -> Result<LinkClaim, Rejection> {
        if self.value(Field::Token).is_some() {
            let name = parameter_name(self.scheme, LinkParameter::Field(Field::Token)).to_owned();
            return Err(Rejection::malformed(name, "a link has no token: leave it out before you sign"));
        }
        let nonce = self.value(Field::Nonce).map(Nonce::parse).transpose();
        let fields = Fields {
            app_id: self.required(Field::AppId, AppId::parse)?,
            timestamp: self.required(Field::Timestamp, Timestamp::parse)?,
            nonce: nonce.in_field(parameter_name(self.scheme, LinkParameter::Field(Field::Nonce)))?,
            token: TokenClaim::default(),
        };
        let sign = self.required(Field::Sign, Signature::parse)?;
        let lifetime = self.parse(LinkParameter::Expires, self.expires.as_deref(), LinkLifetime::parse)?;
        let grant = self.grant.as_deref().map(GrantToken::parse).transpose();
        let grant = grant.in_field(parameter_name(self.scheme, LinkParameter::Grant))?;
        Ok(LinkClaim { claim: Claim::new(fields, sign), lifetime, grant })
    }

    fn value(&self, field: Field) -> Option<&[u8]> {
        self.fields.get(field).and_then(Option::as_deref)
    }

    fn required<T>(&self, field: Field, parse: impl FnOnce(&[u8]) -> Result<T, FieldError>) -> Result<T, Rejection> {
        self.parse(LinkParameter::Field(field), self.value(field), parse)
    }

    fn parse<T>(
        &self,
        parameter: LinkParameter,
        value: Option<&[u8]>,
        parse: impl FnOnce(&[u8]) -> Result<T, FieldError>,
    ) -> Result<T, Rejection> {
        let name = parameter_name(self.scheme, parameter);
        match value {
            Some(value) => parse(value).in_field(name),
            None if self.has_escaped_twice => Err(Rejection::missing(
                name.to_owned(),
                "every link has this parameter; this link was escaped twice, since the name of a parameter begins with amp;",
            )),
            None => Err(Rejection::missing(name.to_owned(), "every link has this parameter: the link lost it")),
        }
    }
}

fn parameter_name(scheme: &Scheme, parameter: LinkParameter) -> &str {
    match parameter {
        LinkParameter::Expires => scheme.links().expires_name(),
        LinkParameter::Grant => scheme.links().grant_name(),
        LinkParameter::Field(field) => scheme.parameter_name(field).unwrap_or_default(),
    }
}
