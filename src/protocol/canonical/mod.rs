//! Steps 3 and 5: the string to sign, built from a request's head, its `parameters` and its `content_type`. An
//! `explanation` is its printable form, and `content` the part of it that makes a submission.

#[cfg(feature = "submissions")]
pub(super) mod content;
pub(super) mod content_type;
pub(super) mod explanation;
pub(super) mod parameters;
pub(super) mod string_to_sign;
