//! Keys from a slow or distant store, remembered for a while.

mod alarm;
mod error;
mod flight;
mod generation;
mod keys;
mod look_up;
mod memory;

pub use self::{error::LookUpError, keys::CachedKeys};
