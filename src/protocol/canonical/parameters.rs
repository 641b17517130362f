//! Reads the parameters of a query or a form: splits, decodes, drops empty ones, encodes and sorts them.
//!
//! Text that is already in its signed encoding is never copied. Other names are encoded once, because they are
//! compared. Other values are encoded while they are written to the string to sign.

use std::{borrow::Cow, cmp::Ordering};

use crate::protocol::{
    encode::{
        segment::{Segment, Text, segments},
        sink::Sink,
    },
    rejection::Rejection,
};

/// How the service receives the parameters of a query, and of a form that came without a digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParameterPolicy {
    /// Unchanged, except that parameters with an empty name or value are removed, because they are not signed.
    #[default]
    Strip,
    /// Exactly as they were signed: sorted by name, and in one encoding. Use it for services that depend on order or
    /// encoding.
    Canonicalize,
    /// Unchanged. A request with a parameter that has an empty name or value is rejected.
    Reject,
}

/// The non-empty parameters. Their escapes are valid.
#[derive(Default)]
pub(crate) struct ParameterList<'a> {
    sorted: Vec<Parameter<'a>>,
    /// `true` if a segment had an empty name or value.
    had_empty: bool,
    /// `true` if a segment was left out.
    had_left_out: bool,
}

struct Parameter<'a> {
    /// The first bytes of the name, for fast comparison. Few names share all of them.
    start: u64,
    segment: Segment<'a>,
    /// The encoded name, if it differs from the original text. It is stored because it is compared many times.
    encoded_name: Option<Box<[u8]>>,
}

impl<'a> ParameterList<'a> {
    /// Reads `raw` without empty parameters. `is_left_out` selects further parameters that are not signed, such as the
    /// fields in a query that carries them.
    pub(crate) fn parse(
        raw: &'a [u8],
        is_left_out: impl Fn(Text<'a>) -> bool,
        limit: usize,
    ) -> Result<Self, Rejection> {
        let mut list = Self::default();
        let mut count = 0;
        for segment in segments(raw) {
            if is_left_out(segment.name()) {
                list.had_left_out = true;
                continue;
            }
            count += 1;
            if count > limit {
                let detail = format!("more than {limit} parameters: send them in a JSON body instead");
                return Err(Rejection::malformed_parameters(detail));
            }
            if segment.is_broken() {
                return Err(Rejection::malformed_parameters(
                    "a % without two hex digits after it: write a percent sign as %25",
                ));
            }
            if segment.is_empty() {
                list.had_empty = true;
                continue;
            }
            if list.sorted.is_empty() {
                // Reserve space for as many as most requests have, in one allocation.
                list.sorted.reserve(8);
            }
            list.sorted.push(Parameter::new(segment));
        }
        // A stable sort keeps the original order of values with the same name.
        list.sorted.sort_by(Parameter::by_name);
        Ok(list)
    }

    /// Writes each `name=value`, joined with `&`.
    pub(crate) fn write(&self, out: &mut impl Sink) {
        for (i, parameter) in self.sorted.iter().enumerate() {
            if i > 0 {
                out.put(b"&");
            }
            parameter.write(out);
        }
    }

    pub(crate) fn to_text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        self.write(&mut text);
        text
    }

    /// The text without the parameters that `is_removed` selects.
    #[cfg(feature = "server")]
    pub(crate) fn to_text_without(&self, is_removed: impl Fn(Text<'_>) -> bool) -> Vec<u8> {
        let mut text = Vec::new();
        for parameter in self.sorted.iter().filter(|parameter| !is_removed(parameter.segment.name())) {
            if !text.is_empty() {
                text.push(b'&');
            }
            parameter.write(&mut text);
        }
        text
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    pub(crate) fn had_empty(&self) -> bool {
        self.had_empty
    }

    /// Whether the original text contains a segment that was not signed.
    pub(crate) fn has_unsigned(&self) -> bool {
        self.had_empty || self.had_left_out
    }
}

impl<'a> Parameter<'a> {
    fn new(segment: Segment<'a>) -> Self {
        match segment.name().encoded() {
            Cow::Borrowed(name) => Self { start: start(segment.raw(), name.len()), segment, encoded_name: None },
            Cow::Owned(name) => Self { start: start(&name, name.len()), segment, encoded_name: Some(name.into()) },
        }
    }

    fn name(&self) -> &[u8] {
        self.encoded_name.as_deref().unwrap_or(self.segment.name().raw())
    }

    fn by_name(&self, other: &Self) -> Ordering {
        self.start.cmp(&other.start).then_with(|| self.name().cmp(other.name()))
    }

    fn write(&self, out: &mut impl Sink) {
        if self.segment.is_canonical() {
            return out.put(self.segment.raw());
        }
        out.put(self.name());
        out.put(b"=");
        self.segment.value().write(out);
    }
}

/// Returns the first of `len` bytes as a number with the same order as the bytes. Encoded names contain no zero byte.
fn start(text: &[u8], len: usize) -> u64 {
    let first = text.first_chunk().copied().unwrap_or_else(|| {
        let mut padded = [0; 8];
        padded[..text.len()].copy_from_slice(text);
        padded
    });
    let beyond = u64::MAX.checked_shr(8 * len.min(8) as u32).unwrap_or(0);
    u64::from_be_bytes(first) & !beyond
}
