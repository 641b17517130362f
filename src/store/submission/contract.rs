//! The contract of a submission store.

use std::{pin::Pin, sync::Arc, time::Duration};

use super::entry::{Entry, Fingerprint, Finish, Lease, Reserved, SubmissionRef, WhenLost};
use crate::store::StoreError;

/// Stores which submissions run, and how they ended.
///
/// # Contract
///
/// The store has its own clock, which is the same for all machines that share the store.
///
/// 1. Of all leases that reserve a place, one gets [`Reserved::Yes`], until its entry is released, forgotten, expired, or
///    taken over.
/// 2. A lease ends when it [lasted](Lease::lasts) since its reservation or last renewal. From then on the entry is
///    [`EntryState::Unknown`](super::entry::EntryState::Unknown), and no call renews the lease.
/// 3. With [`WhenLost::TakeOver`], a new lease with the same fingerprint takes over an entry whose lease has ended that way.
///    It never takes over one that was finished as unknown.
/// 4. `renew` and `finish` act only on an entry that their lease holds.
/// 5. `reserve` with the lease that holds a running entry is [`Reserved::Yes`] again, so that a lost answer does no harm.
/// 6. `finish` after the lease has ended still ends the entry, unless the entry was taken over, settled or forgotten.
/// 7. An entry that is done stays done until it expires or `forget` removes it. `settle` changes only an unknown entry.
///    `forget` removes any entry except a running one.
/// 8. An entry expires when its `ttl` has passed since its end: since the lease's end, or since `finish` or `settle`. A
///    repeated `reserve` prolongs nothing.
/// 9. Places are independent.
/// 10. No entry that has not expired is dropped to make room. A full store returns an error.
/// 11. An entry that cannot be read, for example one of another release, is an error.
/// 12. All methods end in bounded time. An answer that may be wrong is an error.
///
/// The conformance suite (feature `test-util`: `store::conformance::submission_store`) checks it.
pub trait SubmissionStore: Send + Sync + 'static {
    /// Reserves a place for a lease, or returns the entry that the place has.
    ///
    /// # Errors
    ///
    /// The store is full, could not answer, or cannot read the entry.
    fn reserve(
        &self,
        at: &SubmissionRef,
        lease: &Lease,
        fingerprint: &Fingerprint,
        ttl: Duration,
        when_lost: WhenLost,
    ) -> impl Future<Output = Result<Reserved, StoreError>> + Send;

    /// Renews a lease that has not ended. Returns whether the lease still holds the entry.
    ///
    /// # Errors
    ///
    /// The store could not answer, or cannot read the entry.
    fn renew(&self, at: &SubmissionRef, lease: &Lease) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Ends the submission that the lease holds. Returns whether the lease held the entry.
    ///
    /// A second call changes nothing, for example after the answer to the first one was lost. It may return `false`.
    ///
    /// # Errors
    ///
    /// The store could not answer, is full, or cannot read the entry.
    fn finish(
        &self,
        at: &SubmissionRef,
        lease: &Lease,
        end: &Finish,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Returns the entry of a place.
    ///
    /// # Errors
    ///
    /// The store could not answer, or cannot read the entry.
    fn state(&self, at: &SubmissionRef) -> impl Future<Output = Result<Option<Entry>, StoreError>> + Send;

    /// Ends an entry that is unknown. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// The store could not answer, is full, or cannot read the entry.
    fn settle(&self, at: &SubmissionRef, end: &Finish) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Removes an entry that does not run. Returns whether there was one. It also removes an entry that cannot be read. An entry
    /// that a newer release has written may be running, so finish an update of all machines before you forget such entries.
    ///
    /// # Errors
    ///
    /// The store could not answer.
    fn forget(&self, at: &SubmissionRef) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

macro_rules! pointer {
    ($($pointer:ident),*) => {$(
        impl<T: SubmissionStore> SubmissionStore for $pointer<T> {
            async fn reserve(
                &self,
                at: &SubmissionRef,
                lease: &Lease,
                fingerprint: &Fingerprint,
                ttl: Duration,
                when_lost: WhenLost,
            ) -> Result<Reserved, StoreError> {
                (**self).reserve(at, lease, fingerprint, ttl, when_lost).await
            }

            async fn renew(&self, at: &SubmissionRef, lease: &Lease) -> Result<bool, StoreError> {
                (**self).renew(at, lease).await
            }

            async fn finish(&self, at: &SubmissionRef, lease: &Lease, end: &Finish) -> Result<bool, StoreError> {
                (**self).finish(at, lease, end).await
            }

            async fn state(&self, at: &SubmissionRef) -> Result<Option<Entry>, StoreError> {
                (**self).state(at).await
            }

            async fn settle(&self, at: &SubmissionRef, end: &Finish) -> Result<bool, StoreError> {
                (**self).settle(at, end).await
            }

            async fn forget(&self, at: &SubmissionRef) -> Result<bool, StoreError> {
                (**self).forget(at).await
            }
        }
    )*};
}
pointer!(Arc, Box);

pub(crate) type BoxedAnswer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A submission store that is chosen at run time.
pub(crate) trait DynSubmissionStore: Send + Sync {
    fn reserve<'a>(
        &'a self,
        at: &'a SubmissionRef,
        lease: &'a Lease,
        fingerprint: &'a Fingerprint,
        ttl: Duration,
        when_lost: WhenLost,
    ) -> BoxedAnswer<'a, Reserved>;
    fn renew<'a>(&'a self, at: &'a SubmissionRef, lease: &'a Lease) -> BoxedAnswer<'a, bool>;
    fn finish<'a>(&'a self, at: &'a SubmissionRef, lease: &'a Lease, end: &'a Finish) -> BoxedAnswer<'a, bool>;
    fn state<'a>(&'a self, at: &'a SubmissionRef) -> BoxedAnswer<'a, Option<Entry>>;
    fn settle<'a>(&'a self, at: &'a SubmissionRef, end: &'a Finish) -> BoxedAnswer<'a, bool>;
    fn forget<'a>(&'a self, at: &'a SubmissionRef) -> BoxedAnswer<'a, bool>;
}

impl<T: SubmissionStore> DynSubmissionStore for T {
    fn reserve<'a>(
        &'a self,
        at: &'a SubmissionRef,
        lease: &'a Lease,
        fingerprint: &'a Fingerprint,
        ttl: Duration,
        when_lost: WhenLost,
    ) -> BoxedAnswer<'a, Reserved> {
        Box::pin(SubmissionStore::reserve(self, at, lease, fingerprint, ttl, when_lost))
    }

    fn renew<'a>(&'a self, at: &'a SubmissionRef, lease: &'a Lease) -> BoxedAnswer<'a, bool> {
        Box::pin(SubmissionStore::renew(self, at, lease))
    }

    fn finish<'a>(&'a self, at: &'a SubmissionRef, lease: &'a Lease, end: &'a Finish) -> BoxedAnswer<'a, bool> {
        Box::pin(SubmissionStore::finish(self, at, lease, end))
    }

    fn state<'a>(&'a self, at: &'a SubmissionRef) -> BoxedAnswer<'a, Option<Entry>> {
        Box::pin(SubmissionStore::state(self, at))
    }

    fn settle<'a>(&'a self, at: &'a SubmissionRef, end: &'a Finish) -> BoxedAnswer<'a, bool> {
        Box::pin(SubmissionStore::settle(self, at, end))
    }

    fn forget<'a>(&'a self, at: &'a SubmissionRef) -> BoxedAnswer<'a, bool> {
        Box::pin(SubmissionStore::forget(self, at))
    }
}
