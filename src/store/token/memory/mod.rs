//! The token store of a single process. The `store` has shards, and a `shard` maps owners to their tokens. The rules over
//! the tokens of one owner are in `owned`, `limit` (new tokens) and `renewal` (and the use of successors). `entry` is one
//! token.

mod entry;
mod limit;
mod owned;
mod renewal;
mod shard;
mod store;

pub use self::store::MemoryTokenStore;
