//! The two field locations, headers and query: reading and writing fields there.

use std::borrow::Cow;

use http::{HeaderValue, Uri, request::Parts};

use crate::protocol::{
    encode::{
        percent,
        segment::{Text, segments},
    },
    field::{error::FieldError, value::Field},
    query::{self, with_query},
    rejection::{InField, Rejection, RejectionKind},
    scheme::{
        contract::{FieldLocation, Scheme},
        headers::{HeaderIndex, KnownHeader},
        parameter_names::{FIELDS, FieldMap},
    },
};

/// The fields of a request, as unparsed text.
pub(crate) struct FieldSource<'a> {
    scheme: &'a Scheme,
    location: Found<'a>,
}

/// The decoded fields.
pub(super) type QueryFields<'a> = FieldMap<Option<Cow<'a, [u8]>>>;

enum Found<'a> {
    Headers(&'a HeaderIndex<'a>),
    Query(QueryFields<'a>),
}

impl<'a> FieldSource<'a> {
    /// Finds which of the scheme's field locations the request uses.
    pub(crate) fn find(scheme: &'a Scheme, uri: &'a Uri, headers: &'a HeaderIndex<'a>) -> Result<Self, Rejection> {
        let query = match scheme.field_location() {
            FieldLocation::Headers => None,
            FieldLocation::Query | FieldLocation::Either => Some(read_query(scheme, uri)?),
        };
        let location = match query {
            Some(fields) => match first_present(&fields) {
                Some(field) => {
                    refuse_field_headers(scheme, headers, field)?;
                    Found::Query(fields)
                }
                None if scheme.field_location() == FieldLocation::Query => Found::Query(fields),
                None => Found::Headers(headers),
            },
            None => Found::Headers(headers),
        };
        Ok(Self { scheme, location })
    }

    /// Finds the fields that an earlier signature left in the location that signers write. `has_token` is `true` if the
    /// signer sends its own token.
    pub(crate) fn of_signer(
        scheme: &'a Scheme,
        uri: &'a Uri,
        headers: &'a HeaderIndex<'a>,
        has_token: bool,
    ) -> Result<Self, Rejection> {
        let location = match scheme.field_location() {
            FieldLocation::Headers => Found::Headers(headers),
            FieldLocation::Query => {
                refuse_link_parameters(scheme, uri)?;
                let fields = read_query(scheme, uri)?;
                // A signer without its own token sends the token of the request.
                let token = fields.get(Field::Token).filter(|token| has_token && token.is_some());
                match first_required(&fields).or(token.map(|_| Field::Token)) {
                    Some(field) if !is_signature(&fields) => return Err(clash(scheme, field)),
                    _ => Found::Query(fields),
                }
            }
            // Signers write headers here, but a verifier would read the query.
            FieldLocation::Either => match first_present(&read_query(scheme, uri)?) {
                Some(field) => {
                    return Err(parameter_malformed(scheme, field, "a parameter cannot be named like a field"));
                }
                None => Found::Headers(headers),
            },
        };
        Ok(Self { scheme, location })
    }

    pub(crate) fn required<T>(
        &self,
        field: Field,
        parse: impl FnOnce(&[u8]) -> Result<T, FieldError>,
    ) -> Result<T, Rejection> {
        match self.value(field)? {
            Some(value) => parse(value).in_field(self.name(field)),
            None => Err(self.missing(field)),
        }
    }

    pub(crate) fn optional<T>(
        &self,
        field: Field,
        parse: impl FnOnce(&[u8]) -> Result<T, FieldError>,
    ) -> Result<Option<T>, Rejection> {
        self.value(field)?.map(parse).transpose().in_field(self.name(field))
    }

    fn value(&self, field: Field) -> Result<Option<&[u8]>, Rejection> {
        match &self.location {
            Found::Headers(headers) => headers.single(KnownHeader::Field(field)),
            Found::Query(fields) => Ok(fields.get(field).and_then(Option::as_deref)),
        }
    }

    #[cold]
    fn missing(&self, field: Field) -> Rejection {
        let place = match (&self.location, self.scheme.field_location()) {
            (_, FieldLocation::Either) => "as a header, or all fields as query parameters",
            (Found::Headers(_), _) => "as a header",
            (Found::Query(_), _) => "as a query parameter",
        };
        Rejection::missing(self.name(field).to_owned(), format_args!("every signed request has this field {place}"))
    }

    fn name(&self, field: Field) -> &'a str {
        let header = self.scheme.header_name(field).as_str();
        match self.location {
            Found::Headers(_) => header,
            Found::Query(_) => self.scheme.parameter_name(field).unwrap_or(header),
        }
    }
}

/// The required fields of a signed request. A token or a digest alone does not make a request a signed one.
pub(super) const REQUIRED: [Field; 4] = [Field::AppId, Field::Timestamp, Field::Nonce, Field::Sign];

/// Replaces a rejection by `unsigned` if the request has none of the [`REQUIRED`] fields.
#[cold]
pub(crate) fn unsigned_or(rejection: Rejection, scheme: &Scheme, uri: &Uri, headers: &HeaderIndex<'_>) -> Rejection {
    let (takes_headers, takes_query) = match scheme.field_location() {
        FieldLocation::Headers => (true, false),
        FieldLocation::Query => (false, true),
        FieldLocation::Either => (true, true),
    };
    let in_headers = takes_headers && REQUIRED.into_iter().any(|field| headers.has(KnownHeader::Field(field)));
    let is_required =
        |parameter| scheme.field_parameters().find(parameter).is_some_and(|field| REQUIRED.contains(&field));
    let query = uri.query().filter(|_| takes_query).unwrap_or_default().as_bytes();
    if in_headers || segments(query).any(|segment| is_required(segment.name())) {
        return rejection;
    }
    let header_names = REQUIRED.map(|field| scheme.header_name(field).as_str()).join(", ");
    let parameter_names = REQUIRED.map(|field| scheme.parameter_name(field).unwrap_or_default()).join(", ");
    let expected = match scheme.field_location() {
        FieldLocation::Headers => format!("the headers {header_names}"),
        FieldLocation::Query => format!("the query parameters {parameter_names}"),
        FieldLocation::Either => format!("the headers {header_names}, or the query parameters {parameter_names}"),
    };
    let detail =
        format!("the request is not signed: expected {expected}; https://docs.rs/countersign says how to sign");
    Rejection::new(RejectionKind::Unsigned, detail)
}

fn read_query<'a>(scheme: &Scheme, uri: &'a Uri) -> Result<QueryFields<'a>, Rejection> {
    let mut fields = QueryFields::default();
    for segment in segments(uri.query().unwrap_or_default().as_bytes()) {
        let field = scheme.field_parameters().find(segment.name());
        let Some(field) = field.filter(|&field| travels_as_field(scheme, field)) else {
            continue;
        };
        if segment.value().is_broken() {
            return Err(parameter_malformed(scheme, field, "a % without two hex digits after it"));
        }
        let value = percent::decoded(segment.value().raw());
        if fields.get_mut(field).and_then(|slot| slot.replace(value)).is_some() {
            return Err(parameter_malformed(scheme, field, "it is there twice"));
        }
    }
    Ok(fields)
}

/// Rejects a URL that a verifier of share links would take for one.
fn refuse_link_parameters(scheme: &Scheme, uri: &Uri) -> Result<(), Rejection> {
    let links = scheme.links();
    let is_named = |text: Text<'_>, name: &str| percent::decode(text.raw()).eq(name.bytes());
    for segment in segments(uri.query().unwrap_or_default().as_bytes()) {
        let mut names = [links.expires_name(), links.grant_name()].into_iter();
        if let Some(name) = names.find(|name| is_named(segment.name(), name)) {
            let problem = "a share link has this parameter, so a request that is signed in its query cannot have it: rename it, \
                           rename that of links (LinkScheme), or send the fields as headers";
            return Err(Rejection::malformed(name.to_owned(), problem));
        }
    }
    Ok(())
}

/// Whether these parameters are an earlier signature. If only some of them are present, they belong to the application.
fn is_signature(fields: &QueryFields<'_>) -> bool {
    REQUIRED.into_iter().all(|field| fields.get(field).is_some_and(Option::is_some))
}

fn first_required(fields: &QueryFields<'_>) -> Option<Field> {
    REQUIRED.into_iter().find(|&field| fields.get(field).is_some_and(Option::is_some))
}

fn clash(scheme: &Scheme, field: Field) -> Rejection {
    let problem = "the signature needs this name in the query, and the URL has a parameter of that name already: rename one \
                   of them (Scheme::with_parameter_name renames the field), or send the fields as headers";
    parameter_malformed(scheme, field, problem)
}

/// Whether the query contains a signature of this scheme. Used for requests to another server.
#[cfg(feature = "client")]
pub(crate) fn has_signature(scheme: &Scheme, uri: &Uri) -> bool {
    let query = uri.query().unwrap_or_default().as_bytes();
    let is_there = |field| segments(query).any(|segment| scheme.field_parameters().find(segment.name()) == Some(field));
    REQUIRED.into_iter().all(is_there)
}

fn first_present(fields: &QueryFields<'_>) -> Option<Field> {
    fields.iter().find(|(_, value)| value.is_some()).map(|(field, _)| field)
}

fn parameter_malformed(scheme: &Scheme, field: Field, problem: &str) -> Rejection {
    Rejection::malformed(scheme.parameter_name(field).unwrap_or_default().to_owned(), problem)
}

/// Rejects field headers if the query has fields. `parameter` is a field that was found in the query.
fn refuse_field_headers(scheme: &Scheme, headers: &HeaderIndex<'_>, parameter: Field) -> Result<(), Rejection> {
    let mut fields = FIELDS.into_iter().filter(|&field| travels_as_field(scheme, field));
    match fields.find(|&field| headers.has(KnownHeader::Field(field))) {
        Some(field) => {
            let name = scheme.header_name(field).as_str().to_owned();
            let parameter = scheme.parameter_name(parameter).unwrap_or_default();
            let problem =
                format_args!("it is a header while {parameter} is in the query: all fields travel in one of them");
            Err(Rejection::malformed(name, problem))
        }
        None => Ok(()),
    }
}

/// Whether the field is sent under its own name. If the token has another location, a header or parameter with the
/// token field's name is ignored.
fn travels_as_field(scheme: &Scheme, field: Field) -> bool {
    field != Field::Token || scheme.token_location().is_field()
}

/// Writes the fields to the signer's location.
pub(crate) fn write<'a>(
    scheme: &Scheme,
    parts: &mut Parts,
    fields: impl Iterator<Item = (Field, &'a [u8])>,
) -> Result<(), http::Error> {
    if scheme.field_location() == FieldLocation::Query {
        let mut query = parts.uri.query().unwrap_or_default().as_bytes().to_vec();
        for (field, text) in fields {
            query::append(&mut query, scheme.parameter_name(field).unwrap_or_default(), text);
        }
        parts.uri = with_query(&parts.uri, &query)?;
        return Ok(());
    }
    for (field, text) in fields {
        let mut value = HeaderValue::from_bytes(text)?;
        value.set_sensitive(matches!(field, Field::Token | Field::Sign));
        parts.headers.insert(scheme.header_name(field).clone(), value);
    }
    Ok(())
}

/// Removes the fields of an earlier signature. Fields in headers are removed even if the query carries the fields now.
pub(crate) fn remove(scheme: &Scheme, parts: &mut Parts) -> Result<(), http::Error> {
    for field in FIELDS.into_iter().filter(|&field| travels_as_field(scheme, field)) {
        parts.headers.remove(scheme.header_name(field));
    }
    if let (FieldLocation::Query, Some(query)) = (scheme.field_location(), parts.uri.query()) {
        let query = query::without_fields(query.as_bytes(), scheme.field_parameters());
        parts.uri = with_query(&parts.uri, &query)?;
    }
    Ok(())
}
