//! Errors of key files.

use std::{fmt, path::Path, sync::Arc};

use toml::{Spanned, de::DeValue};

/// The error of a key file that cannot be read or has invalid content.
///
/// The message has the file's path, the line and column if they are known, and the expected content. From the file it
/// repeats only app ids and key names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileKeysError {
    path: Arc<Path>,
    place: Option<(usize, usize)>,
    detail: String,
}

impl FileKeysError {
    /// Returns the line of the error, counted from 1, if the error has a line.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.place.map(|(line, _)| line)
    }

    /// Returns the column of the error in characters, counted from 1, if the error has a line.
    #[must_use]
    pub fn column(&self) -> Option<usize> {
        self.place.map(|(_, column)| column)
    }

    /// Creates an error about the file as a whole.
    pub(super) fn of_file(path: &Arc<Path>, detail: impl Into<String>) -> Self {
        Self { path: path.clone(), place: None, detail: detail.into() }
    }

    pub(super) fn of_text(path: &Arc<Path>, text: &str, error_at: ParseError) -> Self {
        Self { place: Some(place(text, error_at.at)), ..Self::of_file(path, error_at.detail) }
    }
}

impl fmt::Display for FileKeysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some((line, column)) = self.place {
            write!(f, ", line {line}, column {column}")?;
        }
        write!(f, ": {}", self.detail)
    }
}

impl std::error::Error for FileKeysError {}

/// An error in the text, with its byte offset.
pub(super) struct ParseError {
    at: usize,
    detail: String,
}

impl ParseError {
    pub(super) fn new(at: usize, detail: impl Into<String>) -> Self {
        Self { at, detail: detail.into() }
    }
}

/// Returns the line of a byte, counted from 1.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    place(text, at).0
}

/// Returns the line and column of a byte, both counted from 1.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..at.min(text.len())];
    let line = before.split(|&byte| byte == b'\n').count();
    let start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
    // Count the first byte of each character.
    let column = before[start..].iter().filter(|&&byte| byte & 0b1100_0000 != 0b1000_0000).count() + 1;
    (line, column)
}

/// A value in a key file with its position.
pub(super) type Item<'i> = Spanned<DeValue<'i>>;

pub(super) fn error_at(item: &Item<'_>, detail: impl Into<String>) -> ParseError {
    ParseError::new(item.span().start, detail)
}
