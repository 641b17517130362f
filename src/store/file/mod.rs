//! Errors of [`FileKeys`](super::FileKeys), the key store that reads apps and their keys from a TOML file.

// `store` answers from memory, with the apps in `current`. `read` reads the whole file, `parse` makes apps of it with the
// `data` in it, and `watch` polls for changes on a thread of its own.

mod current;
mod data;
mod error;
mod parse;
mod read;
pub(super) mod store;
mod watch;

pub use self::error::FileKeysError;
