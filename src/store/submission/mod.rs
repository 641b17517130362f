//! Stores of submissions: the `contract`, and the `entry` that they keep.

pub(crate) mod contract;
pub(crate) mod entry;
