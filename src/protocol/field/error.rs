//! The error for a value that does not match its field's grammar.

use std::fmt;

use crate::protocol::encode::charset::Charset;

/// The error for a value that does not match its field's grammar.
///
/// The message names the field, the expected value, and the length of the value or the position and kind of the first
/// invalid character. It never repeats the value, which may be a secret.
///
/// ```
/// # use countersign::AppId;
/// let error = "two words".parse::<AppId>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "app id: expected 1 to 64 of A-Z a-z 0-9 . _ -, found white space at position 4"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {}", self.problem())]
pub struct FieldError {
    name: &'static str,
    expected: &'static str,
    found: Found,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Length(usize),
    /// The position of the first character that is not allowed, starting at 1, and its kind.
    Character(usize, &'static str),
    /// Any other description.
    Other(&'static str),
}

impl FieldError {
    /// Makes an error. `allowed` is the set of characters that the value may contain.
    #[cold]
    pub(crate) fn new(name: &'static str, expected: &'static str, value: &[u8], allowed: &Charset) -> Self {
        let found = match value.get(allowed.count_first(value)) {
            _ if value.is_empty() => Found::Nothing,
            Some(&byte) => Found::Character(allowed.count_first(value) + 1, kind(byte)),
            None => Found::Length(value.len()),
        };
        Self { name, expected, found }
    }

    #[cold]
    pub(crate) fn other(name: &'static str, expected: &'static str, found: &'static str) -> Self {
        Self { name, expected, found: Found::Other(found) }
    }

    /// The message without the field's name, for callers that add their own name.
    pub(crate) fn problem(&self) -> impl fmt::Display {
        Problem(self)
    }
}

struct Problem<'a>(&'a FieldError);

impl fmt::Display for Problem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}, found {}", self.0.expected, self.0.found)
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Length(1) => f.write_str("1 character"),
            Self::Length(length) => write!(f, "{length} characters"),
            Self::Character(position, kind) => write!(f, "{kind} at position {position}"),
            Self::Other(found) => f.write_str(found),
        }
    }
}

fn kind(byte: u8) -> &'static str {
    match byte {
        b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c => "white space",
        0x80.. => "a character that is not ASCII",
        _ if byte.is_ascii_control() => "a control character",
        _ if byte.is_ascii_uppercase() => "an uppercase letter",
        _ if byte.is_ascii_lowercase() => "a lowercase letter",
        _ if byte.is_ascii_digit() => "a digit",
        _ => "another character",
    }
}
