//! Signing: `sign` makes signatures, and `strip` removes an earlier one.

pub(super) mod error;
pub(super) mod sign;
#[cfg(feature = "client")]
pub(super) mod strip;
