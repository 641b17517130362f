//! Stores of submissions: the `contract`, the `entry` that they keep, and the store in memory.

pub(crate) mod contract;
pub(crate) mod entry;
pub(super) mod memory;
