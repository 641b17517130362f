//! The signing end: `sign` makes signatures, `strip` takes an earlier one off.

pub(super) mod error;
pub(super) mod sign;
#[cfg(feature = "client")]
pub(super) mod strip;
