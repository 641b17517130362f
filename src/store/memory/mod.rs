//! The nonce store of a single process: the `nonces`, in shards that are each a `table`.

mod nonces;
mod table;

pub use self::nonces::MemoryNonceStore;
