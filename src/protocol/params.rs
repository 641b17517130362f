//! Parameters of a query or a form: split, decode, leave out the empty, encode, sort.
//!
//! Text of unreserved characters alone is its own encoding, and is never copied. Of the rest names are encoded once,
//! for they are compared, and values on their way into the string to sign.

use std::borrow::Cow;

use super::{
    canonical::Sink,
    names::FieldParameters,
    percent::{self, UNRESERVED},
    rejection::Rejection,
};

/// What the service is given of a query, and of a form that came without a digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Parameters {
    /// As they travelled, less those with an empty name or value, which are not signed.
    #[default]
    Stripped,
    /// Exactly as they were signed: sorted, each spelled in one way. For services that act on order or spelling.
    Signed,
    /// As they travelled: a request with an empty name or value is refused.
    RefuseEmpty,
}

/// The non-empty parameters, with escapes that are known to be right.
#[derive(Default)]
pub(crate) struct ParameterList<'a> {
    sorted: Vec<Parameter<'a>>,
    /// Some segment had an empty name or value.
    had_empty: bool,
    /// Some segment was a field.
    had_field: bool,
}

struct Parameter<'a> {
    /// Encoded already: it is compared many times.
    name: Cow<'a, [u8]>,
    value: Text<'a>,
}

/// Text with its escapes.
#[derive(Clone, Copy)]
struct Text<'a> {
    raw: &'a [u8],
    /// Only unreserved characters: it is its own encoding.
    plain: bool,
}

impl<'a> ParameterList<'a> {
    /// Reads `raw`, leaving out the empty and, in a query that carries them, the fields.
    pub(crate) fn parse(raw: &'a [u8], fields: Option<&FieldParameters>, limit: usize) -> Result<Self, Rejection> {
        let mut list = Self::default();
        let mut count = 0;
        for segment in segments(raw) {
            if fields.is_some_and(|fields| fields.find(segment.name).is_some()) {
                list.had_field = true;
                continue;
            }
            count += 1;
            if count > limit {
                let detail = format!("more than {limit} parameters: send them in a JSON body instead");
                return Err(Rejection::malformed_parameters(detail));
            }
            let (name, value) = (Text::checked(segment.name)?, Text::checked(segment.value)?);
            if segment.is_empty() {
                list.had_empty = true;
            } else {
                if list.sorted.is_empty() {
                    // As many as most requests have: one allocation, small enough to be moved about.
                    list.sorted.reserve(8);
                }
                list.sorted.push(Parameter { name: name.encoded(), value });
            }
        }
        // Stable: values of a repeated name keep the order in which they travelled.
        list.sorted.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(list)
    }

    /// `name=value`, joined with `&`.
    pub(crate) fn write(&self, out: &mut impl Sink) {
        for (i, parameter) in self.sorted.iter().enumerate() {
            if i > 0 {
                out.put(b"&");
            }
            out.put(&parameter.name);
            out.put(b"=");
            parameter.value.write(out);
        }
    }

    pub(crate) fn to_text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        self.write(&mut text);
        text
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    pub(crate) fn had_empty(&self) -> bool {
        self.had_empty
    }

    /// Whether the text that travelled holds a segment that was not signed.
    pub(crate) fn left_something_out(&self) -> bool {
        self.had_empty || self.had_field
    }
}

/// `raw` without the segments that [`ParameterList::parse`] leaves out, every other byte as it was.
pub(crate) fn strip(raw: &[u8], fields: Option<&FieldParameters>) -> Vec<u8> {
    let is_field = |segment: &Segment<'_>| fields.is_some_and(|fields| fields.find(segment.name).is_some());
    join(raw, |segment| !segment.is_empty() && !is_field(segment))
}

/// `raw` without the fields: empty parameters stay.
pub(crate) fn without_fields(raw: &[u8], fields: &FieldParameters) -> Vec<u8> {
    join(raw, |segment| fields.find(segment.name).is_none())
}

fn join(raw: &[u8], keep: impl Fn(&Segment<'_>) -> bool) -> Vec<u8> {
    let mut kept = Vec::with_capacity(raw.len());
    for segment in segments(raw).filter(keep) {
        if !kept.is_empty() {
            kept.push(b'&');
        }
        kept.extend_from_slice(segment.raw);
    }
    kept
}

/// What stands between two `&`.
pub(crate) struct Segment<'a> {
    raw: &'a [u8],
    pub(crate) name: &'a [u8],
    pub(crate) value: &'a [u8],
}

impl Segment<'_> {
    fn is_empty(&self) -> bool {
        self.name.is_empty() || self.value.is_empty()
    }
}

/// Splits at `&`, then each segment at its first `=`. No text has no segments.
pub(crate) fn segments(raw: &[u8]) -> impl Iterator<Item = Segment<'_>> {
    raw.split(|&b| b == b'&').take(if raw.is_empty() { 0 } else { usize::MAX }).map(|raw| {
        let (name, value) = match raw.iter().position(|&b| b == b'=') {
            Some(i) => (&raw[..i], &raw[i + 1..]),
            None => (raw, &raw[raw.len()..]),
        };
        Segment { raw, name, value }
    })
}

impl<'a> Text<'a> {
    fn checked(raw: &'a [u8]) -> Result<Self, Rejection> {
        let plain = UNRESERVED.has_all(raw);
        if !plain && !percent::escapes_are_right(raw) {
            return Err(Rejection::malformed_parameters(
                "a % without two hex digits after it: write a percent sign as %25",
            ));
        }
        Ok(Self { raw, plain })
    }

    fn encoded(self) -> Cow<'a, [u8]> {
        if self.plain { self.raw.into() } else { percent::encoded(percent::decode(self.raw)).collect() }
    }

    fn write(&self, out: &mut impl Sink) {
        if self.plain {
            return out.put(self.raw);
        }
        for byte in percent::decode(self.raw) {
            let (encoded, len) = percent::encode(byte);
            out.put(&encoded[..len]);
        }
    }
}

/// Adds a parameter to a query.
pub(crate) fn append(query: &mut Vec<u8>, name: &str, value: &[u8]) {
    if !query.is_empty() {
        query.push(b'&');
    }
    query.extend(percent::encoded(name.bytes()));
    query.push(b'=');
    query.extend(percent::encoded(value.iter().copied()));
}
