//! The token store of a single process. The `store` has shards, a `shard` maps owners to their tokens, `owned` has the
//! rules over the tokens of one owner, and `entry` is one token.

mod entry;
mod owned;
mod shard;
mod store;

pub use self::store::MemoryTokenStore;
