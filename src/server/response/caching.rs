//! Cache headers for the response to a verified request.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{self, AUTHORIZATION, CACHE_CONTROL, COOKIE, EXPIRES, LAST_MODIFIED, VARY},
};

use crate::protocol::{Field, FieldLocation, Scheme, TokenLocation, is_token_byte, trim};

/// Keeps caches from serving one caller's response to another.
///
/// Shared caches recognize only `Authorization` (RFC 9111, section 3.5). A response is therefore `private`, unless the
/// service has set directives that decide which caches may store it. A response that may be stored and reused varies by
/// the headers that identify the caller.
pub(in crate::server) fn bind_to_caller(headers: &mut HeaderMap, scheme: &Scheme) {
    let directives = match headers.entry(CACHE_CONTROL) {
        header::Entry::Vacant(vacant) => {
            vacant.insert(PRIVATE);
            Directives::default()
        }
        header::Entry::Occupied(mut occupied) => {
            let directives = Directives::read(occupied.iter());
            if !directives.decides_who_stores() {
                // Prepend `private`: after an unterminated quoted string it would be part of that string.
                let value = list([PRIVATE.as_bytes()], occupied.iter(), []).unwrap_or(PRIVATE);
                occupied.insert(value);
            }
            directives
        }
    };
    let has_lifetime =
        || directives.has_max_age || headers.contains_key(EXPIRES) || headers.contains_key(LAST_MODIFIED);
    if !directives.no_store && has_lifetime() {
        vary_by_caller(headers, scheme);
    }
}

/// Whether a response must not be stored at all: it has the directive `no-store`, or directives that cannot be read.
#[cfg(feature = "submissions")]
pub(crate) fn is_no_store(headers: &HeaderMap) -> bool {
    headers.get_all(CACHE_CONTROL).iter().any(|value| {
        let mut directives = Directives::default();
        directives.read_value(value.as_bytes()).is_none() || directives.no_store
    })
}

/// Adds `no-transform`, so that proxies leave the body as it is.
pub(in crate::server) fn forbid_transformation(headers: &mut HeaderMap) {
    let values = || headers.get_all(CACHE_CONTROL).iter();
    // Prepended, for the same reason as `private`. A second one does no harm.
    let value = list([NO_TRANSFORM.as_bytes()], values(), []).unwrap_or(NO_TRANSFORM);
    headers.insert(CACHE_CONTROL, value);
}

const NO_TRANSFORM: HeaderValue = HeaderValue::from_static("no-transform");

const PRIVATE: HeaderValue = HeaderValue::from_static("private");

/// The relevant directives of a response. RFC 9111, section 5.2.2.
#[derive(Default)]
pub(in crate::server) struct Directives {
    no_store: bool,
    /// `public`, `s-maxage` with a number, or `private` without a list of fields.
    names_who_stores: bool,
    /// Also `true` if a value is malformed, because another reader may find a `max-age` in it.
    has_max_age: bool,
    no_cache: bool,
    /// The smallest `max-age` that is a number, in seconds.
    max_age: Option<u64>,
}

impl Directives {
    pub(in crate::server) fn read<'a>(values: impl Iterator<Item = &'a HeaderValue>) -> Self {
        let mut directives = Self::default();
        for value in values {
            if directives.read_value(value.as_bytes()).is_none() {
                directives.has_max_age = true;
            }
        }
        directives
    }

    /// Whether the service has said `no-store` or `no-cache`, also for certain fields, or something malformed.
    pub(in crate::server) fn forbids_reuse(&self) -> bool {
        self.no_store || self.no_cache || (self.has_max_age && self.max_age.is_none())
    }

    pub(in crate::server) fn max_age(&self) -> Option<u64> {
        self.max_age
    }

    fn decides_who_stores(&self) -> bool {
        self.no_store || self.names_who_stores
    }

    /// Returns `None` if the value is malformed. The directives before the error count.
    fn read_value(&mut self, mut rest: &[u8]) -> Option<()> {
        loop {
            rest = trim(rest);
            let Some(&first) = rest.first() else {
                return Some(());
            };
            if first == b',' {
                rest = &rest[1..];
                continue;
            }
            let (Directive { name, argument }, after) = directive(rest)?;
            rest = after;
            match argument {
                None if name.eq_ignore_ascii_case(b"no-store") => self.no_store = true,
                None if name.eq_ignore_ascii_case(b"public") => self.names_who_stores = true,
                // With a list of fields, the directive covers only those fields.
                None if name.eq_ignore_ascii_case(b"private") => self.names_who_stores = true,
                Some(seconds) if name.eq_ignore_ascii_case(b"s-maxage") && is_number(seconds) => {
                    self.names_who_stores = true;
                }
                _ if name.eq_ignore_ascii_case(b"no-cache") => self.no_cache = true,
                _ if name.eq_ignore_ascii_case(b"max-age") => {
                    self.has_max_age = true;
                    let seconds = argument.and_then(|seconds| std::str::from_utf8(seconds).ok()?.parse().ok());
                    self.max_age = self.max_age.into_iter().chain(seconds).min();
                }
                _ => {}
            }
        }
    }
}

struct Directive<'a> {
    name: &'a [u8],
    /// The argument, without quotes.
    argument: Option<&'a [u8]>,
}

/// Parses one directive. Returns it with the rest of the text, which is empty or starts with a comma.
fn directive(text: &[u8]) -> Option<(Directive<'_>, &[u8])> {
    let (name, rest) = token(text)?;
    let (argument, rest) = match rest {
        [b'=', b'"', rest @ ..] => quoted(rest).map(|(argument, rest)| (Some(argument), rest))?,
        [b'=', rest @ ..] => token(rest).map(|(argument, rest)| (Some(argument), rest))?,
        rest => (None, rest),
    };
    let rest = trim(rest);
    matches!(rest, [] | [b',', ..]).then_some((Directive { name, argument }, rest))
}

fn token(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|&b| !is_token_byte(b)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// Parses a quoted string up to its closing quote: the first quote without a backslash before it. RFC 9110, section
/// 5.6.4.
fn quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut end = 0;
    loop {
        match text.get(end)? {
            b'"' => return Some((&text[..end], &text[end + 1..])),
            b'\\' => end += 2,
            _ => end += 1,
        }
    }
}

fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// Adds the headers that identify the caller to `Vary`. Fields in the query need no entry, because they are part of the
/// cache key.
fn vary_by_caller(headers: &mut HeaderMap, scheme: &Scheme) {
    let in_headers = |field| (scheme.field_location() != FieldLocation::Query).then(|| scheme.header_name(field));
    let location = scheme.token_location();
    let field = location.is_field().then(|| in_headers(Field::Token)).flatten();
    let bearer = (*location == TokenLocation::Bearer).then_some(&AUTHORIZATION);
    let cookie = location.cookie().map(|_| &COOKIE);
    let present = |name: &str| {
        let mut names = headers.get_all(VARY).iter().flat_map(|value| value.as_bytes().split(|&b| b == b',')).map(trim);
        names.any(|other| other == b"*" || other.eq_ignore_ascii_case(name.as_bytes()))
    };
    let missing = [in_headers(Field::AppId), field, bearer, cookie];
    let missing = missing.map(|name| name.filter(|name| !present(name.as_str())));
    if missing.iter().all(Option::is_none) {
        return;
    }
    let missing = missing.into_iter().flatten().map(HeaderName::as_str).map(str::as_bytes);
    if let Some(value) = list([], headers.get_all(VARY).iter(), missing) {
        headers.insert(VARY, value);
    }
}

/// Joins several fields into one, for caches that read only the first or the last of them.
fn list<'a>(
    before: impl IntoIterator<Item = &'a [u8]>,
    values: impl Iterator<Item = &'a HeaderValue>,
    after: impl IntoIterator<Item = &'a [u8]>,
) -> Option<HeaderValue> {
    let values = values.map(HeaderValue::as_bytes).filter(|value| !value.is_empty());
    let all: Vec<&[u8]> = before.into_iter().chain(values).chain(after).collect();
    HeaderValue::from_bytes(&all.join(&b", "[..])).ok()
}
