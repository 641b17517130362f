//! Keys from a slow or distant store, remembered for a while.

mod epoch;
mod error;
mod keys;
mod look_up;
mod lookup;
mod memory;
mod options;
mod warning;

pub use self::{error::LookupError, keys::CachedKeys};
