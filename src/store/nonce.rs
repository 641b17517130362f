//! Nonce stores: the contract of replay protection.

use std::{pin::Pin, sync::Arc};

use super::{NonceClaim, Purpose, StoreError, VerifierRegistry};
#[cfg(feature = "tokens")]
use crate::protocol::token::OwnerTag;
use crate::protocol::{NonceStatus, PendingNonce, Rejection, Retention, Timestamp, Unrepeated};

/// Records which nonces were used.
///
/// # Contract
///
/// - While a claim on a purpose, app id and nonce is live, every other claim on the same three gets
///   [`NonceStatus::Replayed`]. This also holds for concurrent claims: at most one of them is [`NonceStatus::New`]. A
///   claim is live from the moment it is made until the second [`until`](Retention::until).
/// - Claims that differ in purpose, app or nonce are independent. Plain concatenation of the three is not a valid key.
///   [`NonceClaim::key`] makes a valid one.
/// - A call may be delayed between reading the clock and reaching the store. If an earlier call passed a
///   [`now`](Retention::now) at or after this claim's `until`, the store returns [`NonceStatus::Expired`], because the
///   nonce may have been used, expired and removed. A store that keeps claims for longer than required, by more than
///   the time that a call takes, never needs to return `Expired`.
/// - The store never drops a live claim to make room. When it is full, it returns an error.
/// - The store has no clock of its own. It uses the `now` of each call. A store that can only expire entries by itself,
///   such as Redis, keeps a claim for at least its [`ttl`](Retention::ttl).
/// - A store that several verifiers of a process may share returns its [`registry`](Self::registry).
/// - A store that is not sure of its answer returns an error. Every call returns in bounded time.
///
/// `store::conformance` (feature `test-util`) tests a store against this contract.
///
/// ```
/// use countersign::store::{Retention, NonceClaim, NonceStore, NonceStatus, StoreError};
/// # struct Cache;
/// # impl Cache {
/// #     async fn set_if_absent(&self, _: String, _: std::time::Duration) -> Result<bool, std::io::Error> { Ok(true) }
/// # }
///
/// impl NonceStore for Cache {
///     async fn claim(&self, claim: &NonceClaim<'_>, retention: Retention) -> Result<NonceStatus, StoreError> {
///         // One atomic step: never ask first and set afterwards.
///         match self.set_if_absent(claim.key().to_string(), retention.ttl()).await {
///             Ok(true) => Ok(NonceStatus::New),
///             Ok(false) => Ok(NonceStatus::Replayed),
///             Err(error) => Err(StoreError::new(error)),
///         }
///     }
///
///     fn is_persistent(&self) -> bool {
///         true
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a nonce store",
    note = "`MemoryNonceStore` is one for a single process"
)]
pub trait NonceStore: Send + Sync + 'static {
    /// Claims a nonce for its lifetime, atomically.
    ///
    /// # Errors
    ///
    /// Fails if the store is full, or cannot find out whether the nonce is new.
    fn claim(
        &self,
        claim: &NonceClaim<'_>,
        retention: Retention,
    ) -> impl Future<Output = Result<NonceStatus, StoreError>> + Send;

    /// Returns whether claims outlive this process. Default: `false`.
    ///
    /// If they do not, verifiers reject requests that were signed before the first verifier used the store.
    fn is_persistent(&self) -> bool {
        false
    }

    /// Returns the registry of the verifiers of this process that use the store. With it, the store keeps each nonce
    /// for as long as the most tolerant of them needs.
    ///
    /// Default: none. Clones of one verifier always share their registration. Verifiers that are created separately
    /// over one store, for example through an `Arc`, cannot see each other without a registry. They must then all have
    /// the same tolerance.
    fn registry(&self) -> Option<&VerifierRegistry> {
        None
    }

    /// Returns how full the store is, for metrics. It must not do I/O. Default: `None`, which means unknown.
    fn occupancy(&self) -> Option<Occupancy> {
        None
    }
}

/// A report of how full a [`NonceStore`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Occupancy {
    /// The number of nonces in the store: live ones, and expired ones that are not removed yet.
    pub held: usize,
    /// The maximum number of nonces.
    pub capacity: usize,
}

impl Occupancy {
    /// Creates a report of `held` nonces out of at most `capacity`.
    #[must_use]
    pub fn new(held: usize, capacity: usize) -> Self {
        Self { held, capacity }
    }
}

impl PendingNonce {
    /// Claims the nonce until its timestamp has left the window permanently.
    ///
    /// If the store outlives the process, `check` is called after the store returned [`NonceStatus::New`]. It reads the clock
    /// again, and rejects a timestamp that has left the window. Without this check, a suspended machine could send its claim
    /// after the claim of another machine has expired.
    ///
    /// # Errors
    ///
    /// The nonce was used before, the claim expired, or the store failed.
    pub(crate) async fn claim<N: NonceStore>(
        self,
        store: &N,
        check: impl FnOnce(Timestamp) -> Result<(), Rejection> + Send,
    ) -> Result<Unrepeated, Rejection> {
        let Some(nonce) = self.nonce() else {
            return Err(Rejection::missing("nonce", "without a nonce, a replay cannot be found"));
        };
        let claim = NonceClaim::new(self.app_id(), nonce);
        let claim = if self.is_link() { claim.with_purpose(Purpose::Link) } else { claim };
        #[cfg(feature = "tokens")]
        let owner = self.session_token().and_then(OwnerTag::of_token);
        #[cfg(feature = "tokens")]
        let claim = owner.as_ref().map_or(claim, |owner| claim.with_owner(owner));
        let status = store.claim(&claim, self.retention()).await.map_err(Rejection::unavailable)?;
        if status == NonceStatus::New && store.is_persistent() {
            check(self.timestamp())?;
        }
        self.resolve(status)
    }
}

type BoxedStatus<'a> = Pin<Box<dyn Future<Output = Result<NonceStatus, StoreError>> + Send + 'a>>;

/// A [`NonceStore`] that is chosen at run time. Every nonce store implements this trait.
///
/// Write the type as `dyn DynNonceStore`. It is `Send` and `Sync` already.
pub trait DynNonceStore: Send + Sync + sealed::Sealed + 'static {
    /// Calls [`NonceStore::claim`] and boxes the future.
    fn claim_boxed<'a>(&'a self, claim: &'a NonceClaim<'a>, retention: Retention) -> BoxedStatus<'a>;

    /// Calls [`NonceStore::is_persistent`].
    fn is_persistent_dyn(&self) -> bool;

    /// Calls [`NonceStore::registry`].
    fn registry_dyn(&self) -> Option<&VerifierRegistry>;

    /// Calls [`NonceStore::occupancy`].
    fn occupancy_dyn(&self) -> Option<Occupancy>;
}

mod sealed {
    pub trait Sealed {}

    impl<T: super::NonceStore> Sealed for T {}
}

impl<T: NonceStore> DynNonceStore for T {
    fn claim_boxed<'a>(&'a self, claim: &'a NonceClaim<'a>, retention: Retention) -> BoxedStatus<'a> {
        Box::pin(self.claim(claim, retention))
    }

    fn is_persistent_dyn(&self) -> bool {
        self.is_persistent()
    }

    fn registry_dyn(&self) -> Option<&VerifierRegistry> {
        self.registry()
    }

    fn occupancy_dyn(&self) -> Option<Occupancy> {
        self.occupancy()
    }
}

impl NonceStore for dyn DynNonceStore {
    async fn claim(&self, claim: &NonceClaim<'_>, retention: Retention) -> Result<NonceStatus, StoreError> {
        self.claim_boxed(claim, retention).await
    }

    fn is_persistent(&self) -> bool {
        self.is_persistent_dyn()
    }

    fn registry(&self) -> Option<&VerifierRegistry> {
        self.registry_dyn()
    }

    fn occupancy(&self) -> Option<Occupancy> {
        self.occupancy_dyn()
    }
}

macro_rules! pointer {
    ($($pointer:ident),*) => {$(
        impl<T: NonceStore + ?Sized> NonceStore for $pointer<T> {
            async fn claim(&self, claim: &NonceClaim<'_>, retention: Retention) -> Result<NonceStatus, StoreError> {
                (**self).claim(claim, retention).await
            }

            fn is_persistent(&self) -> bool {
                (**self).is_persistent()
            }

            fn registry(&self) -> Option<&VerifierRegistry> {
                (**self).registry()
            }

            fn occupancy(&self) -> Option<Occupancy> {
                (**self).occupancy()
            }
        }
    )*};
}
pointer!(Arc, Box);
