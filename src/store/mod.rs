//! What a verifier asks and remembers: apps' keys and used nonces.
//!
//! Each store is a trait with its law, and implementations that keep it. Implementers write `async fn`. To choose a
//! store at run time, use `Arc<dyn DynKeyStore>` and `Arc<dyn DynNonceStore>`, which are stores themselves.

#[cfg(feature = "test-util")]
#[cfg_attr(docsrs, doc(cfg(feature = "test-util")))]
pub mod conformance;
mod key;
mod memory;
mod nonce;
mod table;

use crate::protocol::BoxError;

pub use self::{
    key::{DynKeyStore, KeyFn, KeyStore, StaticKeys, key_fn},
    memory::MemoryNonceStore,
    nonce::{DynNonceStore, NonceStore, Occurrence},
};

/// A store could not answer: it is full, slow past its deadline, or out of reach. The request gets a 503.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StoreError(BoxError);

impl StoreError {
    /// Wraps what went wrong. It is logged, and not sent to the caller.
    pub fn new(source: impl Into<BoxError>) -> Self {
        Self(source.into())
    }
}
