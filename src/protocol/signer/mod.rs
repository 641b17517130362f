//! Signing: `sign` makes signatures, `presign` makes share links, and `strip` removes an earlier signature.

pub(super) mod error;
pub(super) mod presign;
pub(super) mod sign;
#[cfg(feature = "client")]
pub(super) mod strip;
