//! Connections, reports and errors of [`RedisNonceStore`](super::RedisNonceStore), the nonce store in Redis.

// The `store` makes a command of each claim and puts it into its `outbox`. There it is `waiting` until it goes out with
// others in a `piece`, which is `exchange`d for answers over a `link`, which `connect`s when necessary. `check` asks the
// server before a service starts.

mod check;
mod connect;
mod error;
mod exchange;
mod link;
mod outbox;
mod piece;
mod quota;
pub(super) mod store;
mod waiting;

#[doc(hidden)]
pub use self::check::check_redis_that_evicts;
pub use self::{
    check::{CheckError, RedisReport},
    connect::Connect,
    error::ClaimError,
};
