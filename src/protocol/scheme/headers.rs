//! The headers that the protocol uses. One pass over a request's headers finds them.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::protocol::{field::value::Field, rejection::Rejection};

/// A header that the protocol uses, with its index in a [`HeaderTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KnownHeader {
    Field(Field),
    Connection,
    ContentEncoding,
    ContentLength,
    ContentType,
    /// Any of [`OVERRIDES`].
    Override,
}

/// Headers that override the method or the URL, so that an unsigned header could change the request.
pub(crate) static OVERRIDES: [HeaderName; 5] = [
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-method-override"),
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-rewrite-url"),
];

/// Hop-by-hop headers, which proxies remove. RFC 9110, section 7.6.1.
pub(crate) static HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Headers with their own meaning in HTTP, which cannot carry a field.
const RESERVED: [HeaderName; 14] = [
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::EXPECT,
    header::HOST,
    HeaderName::from_static("http2-settings"),
    header::MAX_FORWARDS,
    header::PROXY_AUTHORIZATION,
    header::SET_COOKIE,
    HeaderName::from_static("set-cookie2"),
    header::VIA,
];

const HOP_BY_HOP_REASON: &str = "it belongs to one hop, and proxies remove it";

/// Returns the reason why a hop-by-hop header cannot be signed, or `None` for any other header.
pub(crate) fn hop_by_hop_reason(name: &HeaderName) -> Option<&'static str> {
    HOP_BY_HOP.contains(name).then_some(HOP_BY_HOP_REASON)
}

const FIELDS: usize = 6;
const OVERRIDE: usize = FIELDS + 4;
const NAMES: usize = OVERRIDE + OVERRIDES.len();

impl KnownHeader {
    /// The index of its name, and of the value that was found.
    const fn place(self) -> usize {
        match self {
            Self::Field(field) => field as usize,
            Self::Connection => FIELDS,
            Self::ContentEncoding => FIELDS + 1,
            Self::ContentLength => FIELDS + 2,
            Self::ContentType => FIELDS + 3,
            Self::Override => OVERRIDE,
        }
    }
}

/// The names of the headers: first the fields, in the order of [`Field`], then the others.
#[derive(Clone, Debug)]
pub(crate) struct HeaderTable {
    names: [HeaderName; NAMES],
    /// For each length, a bit set of the names with that length. For most headers the length alone rules out a match.
    by_length: [u16; LONG + 1],
}

/// Names of this length or longer share one entry.
const LONG: usize = 32;

impl Default for HeaderTable {
    fn default() -> Self {
        let [method_override, method, method_override_2, original_url, rewrite_url] = OVERRIDES.clone();
        let names = [
            HeaderName::from_static("x-app-id"),
            HeaderName::from_static("x-timestamp"),
            HeaderName::from_static("x-nonce"),
            HeaderName::from_static("x-token"),
            HeaderName::from_static("x-sign"),
            HeaderName::from_static("x-content-sha256"),
            header::CONNECTION,
            header::CONTENT_ENCODING,
            header::CONTENT_LENGTH,
            header::CONTENT_TYPE,
            method_override,
            method,
            method_override_2,
            original_url,
            rewrite_url,
        ];
        Self { by_length: by_length(&names), names }
    }
}

impl HeaderTable {
    pub(crate) fn name(&self, field: Field) -> &HeaderName {
        &self.names[KnownHeader::Field(field).place()]
    }

    pub(crate) fn rename(&mut self, field: Field, name: HeaderName) {
        self.names[KnownHeader::Field(field).place()] = name;
        self.by_length = by_length(&self.names);
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = &HeaderName> {
        self.names[..FIELDS].iter()
    }

    /// Returns a field's name that is not allowed, and the reason.
    pub(crate) fn unusable(&self) -> Option<(&HeaderName, &'static str)> {
        let is_repeated = |name| self.fields().filter(|other| *other == name).count() > 1;
        self.fields().find_map(|name| {
            let reason = match name {
                name if HOP_BY_HOP.contains(name) => HOP_BY_HOP_REASON,
                name if RESERVED.contains(name) => "it has a meaning of its own in HTTP",
                name if OVERRIDES.contains(name) => "it overrides the request's method or URL, and is removed",
                name if is_repeated(name) => "another field has this name",
                _ => return None,
            };
            Some((name, reason))
        })
    }

    /// Returns the reason why this header cannot be signed, or `None` if it can.
    pub(crate) fn unsignable(&self, name: &HeaderName) -> Option<&'static str> {
        match name {
            name if HOP_BY_HOP.contains(name) => Some(HOP_BY_HOP_REASON),
            name if self.fields().any(|field| field == name) => Some("it carries a field, which is signed anyway"),
            &header::CONTENT_TYPE => Some("it has a line of its own in the string to sign"),
            &header::CONTENT_LENGTH => Some("proxies change it; the body's digest is signed"),
            &header::COOKIE => Some("proxies and HTTP/2 split and join it; the token's cookie has a line of its own"),
            _ => None,
        }
    }

    pub(crate) fn find_in<'a>(&'a self, headers: &'a HeaderMap) -> HeaderIndex<'a> {
        let mut found = HeaderIndex { table: self, all: headers, first: [None; OVERRIDE + 1], repeated: 0 };
        for (name, value) in headers {
            let name = name.as_str();
            let mut candidates = self.by_length[name.len().min(LONG)];
            while candidates != 0 {
                let place = candidates.trailing_zeros() as usize;
                candidates &= candidates - 1;
                if self.names[place].as_str() == name {
                    found.note(place.min(OVERRIDE), value);
                }
            }
        }
        found
    }
}

fn by_length(names: &[HeaderName; NAMES]) -> [u16; LONG + 1] {
    let mut by_length = [0; LONG + 1];
    for (place, name) in names.iter().enumerate() {
        by_length[name.as_str().len().min(LONG)] |= 1 << place;
    }
    by_length
}

/// The headers of a request that the protocol uses.
pub(crate) struct HeaderIndex<'a> {
    table: &'a HeaderTable,
    all: &'a HeaderMap,
    first: [Option<&'a HeaderValue>; OVERRIDE + 1],
    repeated: u16,
}

impl<'a> HeaderIndex<'a> {
    fn note(&mut self, place: usize, value: &'a HeaderValue) {
        match &mut self.first[place] {
            None => self.first[place] = Some(value),
            Some(_) => self.repeated |= 1 << place,
        }
    }

    /// All headers of the request.
    pub(crate) fn all(&self) -> &'a HeaderMap {
        self.all
    }

    pub(crate) fn has(&self, header: KnownHeader) -> bool {
        self.first[header.place()].is_some()
    }

    /// Returns the value of a header that must not occur more than once.
    pub(crate) fn single(&self, header: KnownHeader) -> Result<Option<&'a [u8]>, Rejection> {
        let place = header.place();
        match self.repeated & 1 << place {
            0 => Ok(self.first[place].map(HeaderValue::as_bytes)),
            _ => Err(twice(&self.table.names[place])),
        }
    }
}

/// Returns the value of any other header that must not occur more than once.
pub(crate) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a [u8]>, Rejection> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    match values.next() {
        Some(_) => Err(twice(name)),
        None => Ok(first.map(HeaderValue::as_bytes)),
    }
}

fn twice(name: &HeaderName) -> Rejection {
    Rejection::malformed(name.as_str().to_owned(), "it is there twice")
}
