//! Errors of [`FileKeys`](super::FileKeys), the key store that reads apps and their keys from a TOML file.

// `store` answers from memory, with the apps in `current`. `read` reads the whole file. `parse` turns it into apps,
// with the app data from `data`. `watch` polls for changes on its own thread.

mod current;
mod data;
mod error;
mod parse;
mod read;
pub(super) mod store;
mod watch;

pub use self::error::FileKeysError;
