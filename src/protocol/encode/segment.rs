//! The segments of a query or a form: the text between `&`, each with a name and a value.

use std::borrow::Cow;

use crate::protocol::encode::{
    percent::{self, UNRESERVED},
    sink::Sink,
};

/// The text between two `&`.
#[derive(Clone, Copy)]
pub(crate) struct Segment<'a> {
    raw: &'a [u8],
    name_len: usize,
    name: EncodingForm,
    value: EncodingForm,
}

/// A name or a value, in its original encoding.
#[derive(Clone, Copy)]
pub(crate) struct Text<'a> {
    raw: &'a [u8],
    form: EncodingForm,
}

/// The encoding of a text, ordered from canonical to invalid.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum EncodingForm {
    /// The encoding of the string to sign: unreserved characters, and uppercase escapes of all others.
    Canonical,
    Other,
    /// A `%` without two hex digits after it.
    Broken,
}

/// Splits the text at `&`, and each segment at its first `=`. An empty text has no segments.
pub(crate) fn segments(raw: &[u8]) -> Segments<'_> {
    Segments { rest: (!raw.is_empty()).then_some(raw) }
}

/// Iterates over the segments. Reads each byte once.
pub(crate) struct Segments<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    fn next(&mut self) -> Option<Segment<'a>> {
        let text = self.rest.take()?;
        let mut name = None;
        let mut form = EncodingForm::Canonical;
        let mut end = 0;
        loop {
            end += UNRESERVED.count_first(&text[end..]);
            match text[end..] {
                [] => break,
                [b'&', ref rest @ ..] => {
                    self.rest = Some(rest);
                    break;
                }
                [b'=', ..] if name.is_none() => {
                    name = Some((end, form));
                    form = EncodingForm::Canonical;
                }
                [b'%', ref after @ ..] => form = form.max(of_escape(after)),
                _ => form = form.max(EncodingForm::Other),
            }
            end += 1;
        }
        let (name_len, name, value) = match name {
            Some((len, name)) => (len, name, form),
            None => (end, form, EncodingForm::Canonical),
        };
        Some(Segment { raw: &text[..end], name_len, name, value })
    }
}

/// Returns the encoding of an escape, from the bytes after its percent sign.
fn of_escape(after: &[u8]) -> EncodingForm {
    match after {
        [high, low, ..] => match percent::of_digits(*high, *low) {
            Some(byte) if !UNRESERVED.has(byte) && percent::escape(byte) == [b'%', *high, *low] => {
                EncodingForm::Canonical
            }
            Some(_) => EncodingForm::Other,
            None => EncodingForm::Broken,
        },
        _ => EncodingForm::Broken,
    }
}

impl<'a> Segment<'a> {
    pub(crate) fn raw(&self) -> &'a [u8] {
        self.raw
    }

    pub(crate) fn name(&self) -> Text<'a> {
        Text { raw: &self.raw[..self.name_len], form: self.name }
    }

    pub(crate) fn value(&self) -> Text<'a> {
        Text { raw: self.raw.get(self.name_len + 1..).unwrap_or_default(), form: self.value }
    }

    /// Whether the name or the value is empty. Such segments are not signed.
    pub(crate) fn is_empty(&self) -> bool {
        self.name_len == 0 || self.value().raw.is_empty()
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.name.max(self.value) == EncodingForm::Broken
    }

    /// Whether the raw text of a segment that is not empty is already the text in the string to sign.
    pub(crate) fn is_canonical(&self) -> bool {
        self.name.max(self.value) == EncodingForm::Canonical
    }
}

impl<'a> Text<'a> {
    pub(crate) fn raw(self) -> &'a [u8] {
        self.raw
    }

    pub(crate) fn is_broken(self) -> bool {
        self.form == EncodingForm::Broken
    }

    /// Returns the text for the string to sign. Copies it only if its encoding differs.
    pub(crate) fn encoded(self) -> Cow<'a, [u8]> {
        match self.form {
            EncodingForm::Canonical => self.raw.into(),
            _ => percent::encoded(percent::decode(self.raw)).collect(),
        }
    }

    /// Writes the same text as [`encoded`](Self::encoded), without a copy.
    pub(crate) fn write(self, out: &mut impl Sink) {
        if self.form == EncodingForm::Canonical {
            return out.put(self.raw);
        }
        for byte in percent::decode(self.raw) {
            let (encoded, len) = percent::encode(byte);
            out.put(&encoded[..len]);
        }
    }
}
