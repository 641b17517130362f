//! The two carriers: fields found in headers or in the query, and put there.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, Uri, request::Parts, uri::PathAndQuery};

use super::{
    field::{Field, FieldError},
    params,
    rejection::{InField, Rejection},
    scheme::{Carrier, Scheme, TokenPlace},
};

/// The fields that travel in the query, when the query carries them.
const FIELDS: [Field; 5] = [Field::AppId, Field::Timestamp, Field::Nonce, Field::Token, Field::Sign];

/// The fields of a request, as unparsed text.
pub(crate) struct Carried<'a> {
    scheme: &'a Scheme,
    carrier: Found<'a>,
}

enum Found<'a> {
    Headers(&'a HeaderMap),
    Query([Option<Cow<'a, [u8]>>; FIELDS.len()]),
}

impl<'a> Carried<'a> {
    /// Finds out which carrier the request uses, of those that the scheme takes.
    pub(crate) fn find(scheme: &'a Scheme, uri: &'a Uri, headers: &'a HeaderMap) -> Result<Self, Rejection> {
        let query = match scheme.carrier() {
            Carrier::Headers => None,
            Carrier::Query | Carrier::Either => Some(read_query(scheme, uri)?),
        };
        let carrier = match query {
            Some(fields) if fields.iter().any(Option::is_some) => {
                refuse_field_headers(scheme, headers)?;
                Found::Query(fields)
            }
            Some(fields) if scheme.carrier() == Carrier::Query => Found::Query(fields),
            _ => Found::Headers(headers),
        };
        Ok(Self { scheme, carrier })
    }

    /// The carrier that signers write, and what an earlier signature left there.
    pub(crate) fn of_signer(scheme: &'a Scheme, uri: &'a Uri, headers: &'a HeaderMap) -> Result<Self, Rejection> {
        let carrier = match scheme.carrier() {
            Carrier::Headers => Found::Headers(headers),
            Carrier::Query => Found::Query(read_query(scheme, uri)?),
            // Signers write headers then, and a verifier would take the query.
            Carrier::Either => match read_query(scheme, uri)?.iter().position(Option::is_some) {
                Some(field) => {
                    let name = scheme.parameter_name(FIELDS[field]).to_owned();
                    return Err(Rejection::malformed(name, "a parameter cannot be named like a field"));
                }
                None => Found::Headers(headers),
            },
        };
        Ok(Self { scheme, carrier })
    }

    pub(crate) fn required<T>(
        &self,
        field: Field,
        parse: impl FnOnce(&[u8]) -> Result<T, FieldError>,
    ) -> Result<T, Rejection> {
        self.optional(field, parse)?.ok_or_else(|| {
            let place = match (&self.carrier, self.scheme.carrier()) {
                (_, Carrier::Either) => "as a header, or all fields as query parameters",
                (Found::Headers(_), _) => "as a header",
                (Found::Query(_), _) => "as a query parameter",
            };
            let advice = format_args!("every signed request has this field {place}");
            Rejection::missing(self.name(field).to_owned(), advice)
        })
    }

    pub(crate) fn optional<T>(
        &self,
        field: Field,
        parse: impl FnOnce(&[u8]) -> Result<T, FieldError>,
    ) -> Result<Option<T>, Rejection> {
        let value = match &self.carrier {
            Found::Headers(headers) => single(headers, self.scheme.header_name(field))?,
            Found::Query(fields) => fields.get(field as usize).and_then(Option::as_deref),
        };
        value.map(parse).transpose().in_field(self.name(field))
    }

    fn name(&self, field: Field) -> &'a str {
        match self.carrier {
            Found::Headers(_) => self.scheme.header_name(field).as_str(),
            Found::Query(_) => self.scheme.parameter_name(field),
        }
    }
}

/// The value of a header that may occur once.
pub(crate) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a [u8]>, Rejection> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    match values.next() {
        Some(_) => Err(Rejection::malformed(name.as_str().to_owned(), "it is there twice")),
        None => Ok(first.map(HeaderValue::as_bytes)),
    }
}

/// The fields in a query, decoded.
fn read_query<'a>(scheme: &Scheme, uri: &'a Uri) -> Result<[Option<Cow<'a, [u8]>>; FIELDS.len()], Rejection> {
    let mut fields = [const { None }; FIELDS.len()];
    for segment in params::segments(uri.query().unwrap_or_default().as_bytes()) {
        let field = scheme.field_parameters().find(segment.name);
        let Some(field) = field.filter(|&field| travels_as_field(scheme, field)) else {
            continue;
        };
        let malformed = |problem| Rejection::malformed(scheme.parameter_name(field).to_owned(), problem);
        if !params::escapes_are_right(segment.value) {
            return Err(malformed("a % without two hex digits after it"));
        }
        if fields[field as usize].replace(params::decoded(segment.value)).is_some() {
            return Err(malformed("it is there twice"));
        }
    }
    Ok(fields)
}

fn refuse_field_headers(scheme: &Scheme, headers: &HeaderMap) -> Result<(), Rejection> {
    let mut fields = FIELDS.into_iter().filter(|&field| travels_as_field(scheme, field));
    match fields.find(|&field| headers.contains_key(scheme.header_name(field))) {
        Some(field) => {
            let name = scheme.header_name(field).as_str().to_owned();
            Err(Rejection::malformed(name, "fields travel in headers or in the query, not in both"))
        }
        None => Ok(()),
    }
}

/// A token that travels in another place is no field: what has the field's name is ignored.
fn travels_as_field(scheme: &Scheme, field: Field) -> bool {
    field != Field::Token || *scheme.token_place() == TokenPlace::Field
}

/// Puts the fields where signers put them.
pub(crate) fn write<'a>(
    scheme: &Scheme,
    parts: &mut Parts,
    fields: impl Iterator<Item = (Field, &'a [u8])>,
) -> Result<(), http::Error> {
    if scheme.carrier() == Carrier::Query {
        let mut query = parts.uri.query().unwrap_or_default().as_bytes().to_vec();
        for (field, text) in fields {
            params::append(&mut query, scheme.parameter_name(field), text);
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

/// Takes the fields of an earlier signature off.
pub(crate) fn remove(scheme: &Scheme, parts: &mut Parts) -> Result<(), http::Error> {
    for field in FIELDS.into_iter().filter(|&field| travels_as_field(scheme, field)) {
        parts.headers.remove(scheme.header_name(field));
    }
    if let (Carrier::Query, Some(query)) = (scheme.carrier(), parts.uri.query()) {
        let query = params::without_fields(query.as_bytes(), scheme.field_parameters());
        parts.uri = with_query(&parts.uri, &query)?;
    }
    Ok(())
}

/// The same target with another query; `?` goes when nothing is left behind it.
pub(crate) fn with_query(uri: &Uri, query: &[u8]) -> Result<Uri, http::Error> {
    let mut target = uri.path().as_bytes().to_vec();
    if !query.is_empty() {
        target.push(b'?');
        target.extend_from_slice(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(target)?);
    Ok(Uri::from_parts(parts)?)
}
