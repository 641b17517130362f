//! The values of fields, parsed once.

pub(super) mod digest;
pub(super) mod error;
pub(super) mod hasher;
pub(super) mod value;
