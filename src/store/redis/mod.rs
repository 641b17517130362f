//! Connections, reports and errors of [`RedisNonceStore`](super::RedisNonceStore), the nonce store in Redis.

// The `store` makes a command of each claim and puts it into its `batcher`. There it is `waiting` until it goes out with
// others in a `batch`, which is `exchange`d for answers over a `connections`, which `connect`s when necessary. `check` asks the
// server before a service starts.

mod batch;
mod batcher;
mod check;
mod connect;
mod connections;
mod error;
mod exchange;
mod queue;
mod quota;
pub(super) mod store;

#[doc(hidden)]
pub use self::check::check_allowing_eviction;
pub use self::{
    check::{CheckError, RedisReport},
    connect::Connect,
    error::ClaimError,
};
