//! Stores of tokens: the `contract`, the `record` that they keep, and the store in memory.

#[cfg(feature = "test-util")]
#[allow(clippy::expect_used, clippy::panic, reason = "a broken contract fails the test that called")]
pub(super) mod conformance;
pub(crate) mod contract;
pub(super) mod memory;
pub(crate) mod record;
