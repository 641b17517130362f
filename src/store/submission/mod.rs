//! Stores of submissions: the `contract`, the `entry` that they keep, and the store in memory.

#[cfg(feature = "test-util")]
#[allow(clippy::panic, reason = "a broken contract fails the test that called")]
pub(super) mod conformance;
pub(crate) mod contract;
pub(crate) mod entry;
pub(super) mod memory;
