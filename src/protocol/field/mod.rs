//! The values of the fields, and their parsers.

pub(super) mod digest;
pub(super) mod error;
pub(super) mod hasher;
#[cfg(feature = "submissions")]
pub(super) mod idempotency_key;
pub(super) mod lifetime;
pub(super) mod value;
