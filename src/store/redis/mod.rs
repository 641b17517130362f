//! Connections, reports and errors of the stores in Redis, such as [`RedisNonceStore`](super::RedisNonceStore).

// `store` turns each claim into a command and passes it to `batcher`. The command takes one of the `places` and waits
// in `queue` until a `batch` sends it together with others. `exchange` sends a batch over one of the `connections`, which `connect` opens when
// needed. `check` inspects the server before a service starts.

mod batch;
mod batcher;
mod check;
mod connect;
mod connections;
mod error;
mod exchange;
mod places;
mod queue;
mod quota;
#[cfg(feature = "tokens")]
mod script;
pub(super) mod store;
#[cfg(feature = "submissions")]
pub(super) mod submissions;
#[cfg(feature = "tokens")]
pub(super) mod tokens;

#[doc(hidden)]
pub use self::check::check_allowing_eviction;
pub use self::{
    check::{CheckError, RedisReport},
    connect::{Connect, SentinelMaster},
    error::CommandError,
};
