//! Bytes and text: character sets, escapes, grammars of headers, the pairs of a query.

pub(super) mod charset;
pub(super) mod grammar;
pub(super) mod percent;
pub(super) mod segment;
pub(super) mod sink;
