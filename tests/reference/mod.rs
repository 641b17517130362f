//! PROTOCOL.md implemented a second time: word by word, slowly, and without the crate's code. The suite and the fuzz targets
//! compare the crate with it.

pub mod content_type;
pub mod fields;
pub mod parameters;
pub mod string;

/// Why a request is refused: the code, and the names that may be given for what is at fault.
pub type Due = (&'static str, String);

/// Without spaces and tabs at its ends.
pub fn trim(text: &[u8]) -> &[u8] {
    let is_blank = |b: &u8| matches!(b, b' ' | b'\t');
    let Some(start) = text.iter().position(|b| !is_blank(b)) else { return b"" };
    let end = text.iter().rposition(|b| !is_blank(b)).map_or(0, |last| last + 1);
    &text[start..end]
}
