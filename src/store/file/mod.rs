//! Apps and their keys in a TOML file, which is read again when it changes.
//!
//! The `store` answers from memory, with what is `current`: `read` brings the file in whole, `parse` makes apps of it with
//! the `secret`s and the `data` that are written there, and `watch` looks for changes on a thread of its own.

mod current;
mod data;
mod error;
mod parse;
mod read;
mod secret;
mod store;
mod watch;

pub use self::{error::FileKeysError, store::FileKeys};
