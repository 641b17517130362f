//! Why a file was not taken.

use std::{fmt, path::Path, sync::Arc};

use toml::{Spanned, de::DeValue};

/// A key file cannot be read, or what it says cannot be meant.
///
/// The message has the file's path, the line and column where they are known, and what was expected there. It repeats
/// nothing of what stands in the file but the ids of apps and the names of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileKeysError {
    path: Arc<Path>,
    place: Option<(usize, usize)>,
    detail: String,
}

impl FileKeysError {
    /// The line that is at fault, from 1, if one is.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.place.map(|(line, _)| line)
    }

    /// The character of the line that is at fault, from 1, if a line is.
    #[must_use]
    pub fn column(&self) -> Option<usize> {
        self.place.map(|(_, column)| column)
    }

    /// The file as a whole is at fault.
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

/// What is wrong in a text, and at which byte of it.
pub(super) struct ParseError {
    at: usize,
    detail: String,
}

impl ParseError {
    pub(super) fn new(at: usize, detail: impl Into<String>) -> Self {
        Self { at, detail: detail.into() }
    }
}

/// The line of a byte, from 1.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    place(text, at).0
}

/// Line and column of a byte, both from 1.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..at.min(text.len())];
    let line = before.split(|&byte| byte == b'\n').count();
    let start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
    // The first byte of each character.
    let column = before[start..].iter().filter(|&&byte| byte & 0b1100_0000 != 0b1000_0000).count() + 1;
    (line, column)
}

/// A value in a key file, and where it stands.
pub(super) type Item<'i> = Spanned<DeValue<'i>>;

pub(super) fn error_at(item: &Item<'_>, detail: impl Into<String>) -> ParseError {
    ParseError::new(item.span().start, detail)
}
