//! A reference implementation of PROTOCOL.md. It follows the text literally, favors clarity over speed, and uses none
//! of the crate's code. The suite and the fuzz targets compare the crate with it.

pub mod content_type;
pub mod fields;
pub mod links;
pub mod parameters;
pub mod response;
pub mod string;

/// A permitted rejection: its code, and the name of the faulty field.
pub type ExpectedRejection = (&'static str, String);

/// Removes spaces and tabs at both ends.
pub fn trim(text: &[u8]) -> &[u8] {
    let is_blank = |b: &u8| matches!(b, b' ' | b'\t');
    let Some(start) = text.iter().position(|b| !is_blank(b)) else { return b"" };
    let end = text.iter().rposition(|b| !is_blank(b)).map_or(0, |last| last + 1);
    &text[start..end]
}
