//! Stores for apps' keys and used nonces.
//!
//! Each kind of store is a trait with a contract, and the crate provides implementations. To write your own store,
//! implement the trait with an `async fn`. To choose a store at run time, use `Arc<dyn DynKeyStore>` and
//! `Arc<dyn DynNonceStore>`, which are stores themselves.

mod app;
#[cfg(feature = "key-cache")]
mod cached;
#[cfg(feature = "test-util")]
#[cfg_attr(docsrs, doc(cfg(feature = "test-util")))]
pub mod conformance;
#[cfg(feature = "key-file")]
#[cfg_attr(docsrs, doc(cfg(feature = "key-file")))]
pub mod file;
mod holders;
mod key;
mod memory;
mod nonce;
mod nonce_claim;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub mod redis;
mod registry;
#[cfg(feature = "submissions")]
pub(crate) mod submission;
#[cfg(feature = "tokens")]
pub(crate) mod token;

#[cfg(feature = "key-cache")]
#[cfg_attr(docsrs, doc(cfg(feature = "key-cache")))]
pub use self::cached::{CachedKeys, LookupError};
#[cfg(feature = "key-file")]
#[cfg_attr(docsrs, doc(cfg(feature = "key-file")))]
#[doc(inline)]
pub use self::file::store::FileKeys;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
#[doc(inline)]
pub use self::redis::store::RedisNonceStore;
#[cfg(all(feature = "redis", feature = "submissions"))]
#[cfg_attr(docsrs, doc(cfg(all(feature = "redis", feature = "submissions"))))]
#[doc(inline)]
pub use self::redis::submissions::store::RedisSubmissionStore;
#[cfg(all(feature = "redis", feature = "tokens"))]
#[cfg_attr(docsrs, doc(cfg(all(feature = "redis", feature = "tokens"))))]
#[doc(inline)]
pub use self::redis::tokens::store::RedisTokenStore;
#[cfg(feature = "submissions")]
#[cfg_attr(docsrs, doc(cfg(feature = "submissions")))]
pub use self::submission::{
    contract::SubmissionStore,
    entry::{Entry, EntryState, Fingerprint, Finish, Lease, Reserved, StoredAnswer, SubmissionRef, WhenLost},
    memory::MemorySubmissionStore,
};
#[cfg(feature = "tokens")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokens")))]
pub use self::token::{
    contract::TokenStore,
    memory::MemoryTokenStore,
    record::{Found, Offer, Placed, Record, Renewed, Room, Touched, Which},
};
pub use self::{
    app::App,
    key::{DuplicateAppError, DynKeyStore, KeyFn, KeyStore, StaticKeys, key_fn},
    memory::MemoryNonceStore,
    nonce::{DynNonceStore, NonceStore, Occupancy},
    nonce_claim::{NonceClaim, NonceKey, Purpose},
    registry::VerifierRegistry,
};
pub(crate) use self::{
    app::AppData,
    registry::{Membership, retention},
};
use crate::protocol::BoxError;
#[cfg(feature = "tokens")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokens")))]
pub use crate::protocol::token::RecordKind;
pub use crate::protocol::{NonceStatus, Retention, token::OwnerTag};

/// The error of a store that could not answer, because it is full, too slow or unreachable. The request gets a 503.
#[derive(Debug, thiserror::Error)]
#[error("the store could not answer")]
pub struct StoreError(#[source] BoxError);

impl StoreError {
    /// Wraps the cause of the failure.
    ///
    /// The cause is the [source](std::error::Error::source) of this error, which is the source of the rejection.
    /// Operators see it with the feature `tracing`. The response does not contain it.
    pub fn new(source: impl Into<BoxError>) -> Self {
        Self(source.into())
    }
}

/// For a handler: 503.
impl From<StoreError> for crate::protocol::Rejection {
    fn from(error: StoreError) -> Self {
        Self::unavailable(error)
    }
}
