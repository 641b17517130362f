//! The nonce store of a single process: `nonces` holds the shards, and each shard is a `table`.

mod nonces;
mod table;

pub use self::nonces::MemoryNonceStore;
