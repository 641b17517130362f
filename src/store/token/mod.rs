//! Stores of tokens: the `contract`, the `record` that they keep, and the store in memory.

pub(crate) mod contract;
pub(super) mod memory;
pub(crate) mod record;
