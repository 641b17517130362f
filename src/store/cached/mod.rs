//! A cache for keys from a slow or remote store.

mod epoch;
mod error;
mod keys;
mod look_up;
mod lookup;
mod memory;
mod options;
mod warning;

pub use self::{error::LookupError, keys::CachedKeys};
