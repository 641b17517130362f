//! Where used nonces are remembered: the contract of replay protection.

use std::{pin::Pin, sync::Arc};

use super::{NonceClaim, StoreError, VerifierRegistry};
use crate::protocol::{NonceStatus, PendingNonce, Rejection, Retention, Unrepeated, Window};

/// Remembers which nonces were used.
///
/// # Contract
///
/// - Of all claims on one (purpose, app id, nonce), however they race, at most one is [`NonceStatus::New`] while it is live.
///   A claim is live from when it was made until the second `until`.
/// - Claims for different purposes, of different apps, or on different nonces never meet: their key is no plain concatenation.
///   [`NonceClaim::key`] makes one.
/// - A caller may be overtaken between reading its clock and getting here. If the store was told a `now` at or after
///   this claim's `until` already, the answer is [`NonceStatus::Expired`]: the nonce may have been used, expired and
///   forgotten. (One that keeps claims for longer than their lifetime, by more than a call takes, has no such case.)
/// - A live claim is never dropped to make room. A store that has none left returns an error.
/// - The store has no clock of its own: it is told `now`. One that can only expire by itself, Redis for example, keeps
///   a claim for its [`ttl`](Retention::ttl) at least.
/// - A store that several verifiers of a process may share returns its [`registry`](Self::registry).
/// - An answer that may be wrong is an error. Every answer comes in bounded time.
///
/// `store::conformance` (feature `test-util`) puts a store through this contract.
///
/// ```
/// use countersign::store::{Retention, NonceClaim, NonceStore, NonceStatus, StoreError};
/// # struct Cache;
/// # impl Cache {
/// #     async fn set_if_absent(&self, _: String, _: std::time::Duration) -> Result<bool, std::io::Error> { Ok(true) }
/// # }
///
/// impl NonceStore for Cache {
///     async fn claim(&self, claim: &NonceClaim<'_>, lifetime: Retention) -> Result<NonceStatus, StoreError> {
///         // One atomic step: never ask first and set afterwards.
///         match self.set_if_absent(claim.key().to_string(), lifetime.ttl()).await {
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
    /// The store is full, or cannot tell.
    fn claim(
        &self,
        claim: &NonceClaim<'_>,
        lifetime: Retention,
    ) -> impl Future<Output = Result<NonceStatus, StoreError>> + Send;

    /// Whether claims outlive this process. Of a store that forgets with it (the default), verifiers refuse requests
    /// that were signed before they were set up.
    fn is_persistent(&self) -> bool {
        false
    }

    /// The verifiers of this process that use the store, so that each nonce is kept for the most tolerant of them.
    ///
    /// Default: none. Verifiers that are given such a store apart from each other, as an `Arc` for example, do not know of each
    /// other: then each must have the same tolerance. Clones of one verifier always know of each other.
    fn registry(&self) -> Option<&VerifierRegistry> {
        None
    }

    /// How full it is, for operators, where it can tell without asking anybody. Default: it cannot.
    fn occupancy(&self) -> Option<Occupancy> {
        None
    }
}

/// How full a [`NonceStore`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Occupancy {
    /// How many nonces it holds: the live ones, and those that have expired and were not given back yet.
    pub held: usize,
    /// How many it can hold.
    pub capacity: usize,
}

impl Occupancy {
    /// So many nonces held, of so many that it can hold.
    #[must_use]
    pub fn new(held: usize, capacity: usize) -> Self {
        Self { held, capacity }
    }
}

impl PendingNonce {
    /// Claims the nonce until the timestamp is out of the window for good.
    ///
    /// Where the store outlives the process, `now`, the verifier's clock in Unix seconds, is read again after the nonce was new, and
    /// a timestamp that has left the window is stale. A machine that stood still meanwhile may have sent its claim after the claim
    /// of another machine had ended.
    ///
    /// # Errors
    ///
    /// The nonce was used before, the claim came too late, or the store failed.
    pub(crate) async fn claim<N: NonceStore>(
        self,
        store: &N,
        window: &Window,
        now: impl Fn() -> u64 + Send,
    ) -> Result<Unrepeated, Rejection> {
        let claim = NonceClaim::new(self.app_id(), self.nonce());
        let occurrence = store.claim(&claim, self.retention()).await.map_err(Rejection::unavailable)?;
        if occurrence == NonceStatus::New && store.is_persistent() {
            self.check_again(window, now())?;
        }
        self.resolve(occurrence)
    }
}

type BoxedOccurrence<'a> = Pin<Box<dyn Future<Output = Result<NonceStatus, StoreError>> + Send + 'a>>;

/// A [`NonceStore`] that is chosen at run time: every nonce store is one. Name it `dyn DynNonceStore`, without `Send`
/// and `Sync`, which it has.
pub trait DynNonceStore: Send + Sync + sealed::Sealed + 'static {
    /// [`NonceStore::claim`], boxed.
    fn claim_boxed<'a>(&'a self, claim: &'a NonceClaim<'a>, lifetime: Retention) -> BoxedOccurrence<'a>;

    /// [`NonceStore::is_persistent`].
    fn is_persistent_dyn(&self) -> bool;

    /// [`NonceStore::registry`].
    fn registry_dyn(&self) -> Option<&VerifierRegistry>;

    /// [`NonceStore::occupancy`].
    fn occupancy_dyn(&self) -> Option<Occupancy>;
}

mod sealed {
    pub trait Sealed {}

    impl<T: super::NonceStore> Sealed for T {}
}

impl<T: NonceStore> DynNonceStore for T {
    fn claim_boxed<'a>(&'a self, claim: &'a NonceClaim<'a>, lifetime: Retention) -> BoxedOccurrence<'a> {
        Box::pin(self.claim(claim, lifetime))
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
    async fn claim(&self, claim: &NonceClaim<'_>, lifetime: Retention) -> Result<NonceStatus, StoreError> {
        self.claim_boxed(claim, lifetime).await
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
            async fn claim(&self, claim: &NonceClaim<'_>, lifetime: Retention) -> Result<NonceStatus, StoreError> {
                (**self).claim(claim, lifetime).await
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
