//! The contract of a token store.

use std::{any::Any, pin::Pin, sync::Arc};

use super::record::{Found, Offer, Placed, Record, Renewed, Room, Touched, Which};
use crate::{
    protocol::token::{OwnerKey, OwnerTag, RecordKind, TokenRef},
    store::StoreError,
};

/// Stores the tokens and the grants that a service has issued.
///
/// [`MemoryTokenStore`](crate::store::MemoryTokenStore) is one for a single process. A store gets no token, only the tag of
/// its owner and the SHA-256 of its text. It has no clock: each method gets `now` in Unix seconds.
///
/// A store keeps two [kinds](RecordKind) of records: the tokens of sessions, and the grants of share links. The grants of an
/// owner are apart from its tokens. In the contract, "tokens" are the records of one kind. The library puts, finds, ends and
/// lists grants. It never touches, takes or renews one.
///
/// # Contract
///
/// 1. All methods on one owner and kind are atomic with respect to each other, on every machine. They do not affect records of
///    the other kind: a limit does not count them, an end does not end them, and `find` and `list` do not return them.
/// 2. `find` returns a record from its `put` until the second before its end, unless the token was ended or taken, or the
///    overlap after the first use of its successor is over. A renewal of the successor is a use.
/// 3. After `put`, at most [`limit`](Room::limit) plain sessions of the same app and kind of device are live, and at most
///    [`max`](Room::max) tokens of the same app. [`NewestWins`](crate::token::SessionLimit::NewestWins) ends the sessions that were
///    put first, in the order of the store itself, and never the new one. A refusal changes nothing.
/// 4. After `end` has returned, no token that was put before `end` began, and no successor of one, is found or taken. To end
///    all of a user's sessions, the library ends the sessions first and the grants second.
/// 5. Of all calls of `take` for one token, exactly one returns `true`.
/// 6. All calls of `renew` for one live token return the same seed and record. There is one successor. A session is renewed
///    at most four times within one overlap. A token that is accepted once is not renewed.
/// 7. `touch` and `take` act on live tokens only. They never create, revive or shorten one. `touch` changes nothing of a token
///    in its overlap.
/// 8. No live record is dropped to make room. A full store returns an error.
/// 9. A token that the store does not have is never found.
/// 10. All methods end in bounded time. An answer that may be wrong is an error.
/// 11. A record is kept for at least 60 s after its end, because the clocks of machines differ. Only `renew` may remove
///     older tokens of the same session as soon as their overlap is over, so that a renewal loop does not grow the store.
///
/// The conformance suite (feature `test-util`: `store::conformance::token_store`) checks it.
pub trait TokenStore: Send + Sync + 'static {
    /// Returns the key from which the tags of owners are made. It is the same on all machines of a service.
    fn owner_key(&self) -> &OwnerKey;

    /// Stores a new token, unless a limit in `room` refuses it.
    ///
    /// # Errors
    ///
    /// The store is full, or could not answer.
    fn put(
        &self,
        at: &TokenRef,
        record: &Record,
        room: Room,
        now: u64,
    ) -> impl Future<Output = Result<Placed, StoreError>> + Send;

    /// Finds a token. It changes nothing.
    ///
    /// # Errors
    ///
    /// The store could not answer.
    fn find(&self, at: &TokenRef, now: u64) -> impl Future<Output = Result<Found, StoreError>> + Send;

    /// Records a use. The idle end becomes `until` if that is later. The first use of a successor starts the overlap of its
    /// predecessor.
    ///
    /// # Errors
    ///
    /// The store could not answer.
    fn touch(
        &self,
        at: &TokenRef,
        now: u64,
        until: Option<u64>,
    ) -> impl Future<Output = Result<Touched, StoreError>> + Send;

    /// Spends a live one-time token: removes it, and returns whether this call removed it.
    ///
    /// # Errors
    ///
    /// The store could not answer.
    fn take(&self, at: &TokenRef, now: u64) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Renews a live token, or returns the renewal that it already has.
    ///
    /// # Errors
    ///
    /// The store is full, or could not answer.
    fn renew(
        &self,
        old: &TokenRef,
        offer: &Offer,
        now: u64,
    ) -> impl Future<Output = Result<Renewed, StoreError>> + Send;

    /// Ends sessions or grants of an owner with the reason [`Revoked`](crate::token::EndReason::Revoked). The store remembers
    /// this reason for `remember` seconds. Returns the number of live sessions or grants that it has ended.
    ///
    /// # Errors
    ///
    /// The store could not answer.
    fn end(
        &self,
        owner: &OwnerTag,
        kind: RecordKind,
        which: Which<'_>,
        remember: u64,
        now: u64,
    ) -> impl Future<Output = Result<usize, StoreError>> + Send;

    /// Returns the live sessions or grants of an owner, each once, in the order in which they were put.
    ///
    /// # Errors
    ///
    /// The store could not answer.
    fn list(
        &self,
        owner: &OwnerTag,
        kind: RecordKind,
        now: u64,
    ) -> impl Future<Output = Result<Vec<Record>, StoreError>> + Send;
}

macro_rules! pointer {
    ($($pointer:ident),*) => {$(
        impl<T: TokenStore> TokenStore for $pointer<T> {
            fn owner_key(&self) -> &OwnerKey {
                (**self).owner_key()
            }

            async fn put(&self, at: &TokenRef, record: &Record, room: Room, now: u64) -> Result<Placed, StoreError> {
                (**self).put(at, record, room, now).await
            }

            async fn find(&self, at: &TokenRef, now: u64) -> Result<Found, StoreError> {
                (**self).find(at, now).await
            }

            async fn touch(&self, at: &TokenRef, now: u64, until: Option<u64>) -> Result<Touched, StoreError> {
                (**self).touch(at, now, until).await
            }

            async fn take(&self, at: &TokenRef, now: u64) -> Result<bool, StoreError> {
                (**self).take(at, now).await
            }

            async fn renew(&self, old: &TokenRef, offer: &Offer, now: u64) -> Result<Renewed, StoreError> {
                (**self).renew(old, offer, now).await
            }

            async fn end(
                &self,
                owner: &OwnerTag,
                kind: RecordKind,
                which: Which<'_>,
                remember: u64,
                now: u64,
            ) -> Result<usize, StoreError> {
                (**self).end(owner, kind, which, remember, now).await
            }

            async fn list(&self, owner: &OwnerTag, kind: RecordKind, now: u64) -> Result<Vec<Record>, StoreError> {
                (**self).list(owner, kind, now).await
            }
        }
    )*};
}
pointer!(Arc, Box);

pub(crate) type BoxedAnswer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A token store that is chosen at run time.
pub(crate) trait DynTokenStore: Send + Sync {
    fn as_any(&self) -> &dyn Any;
    fn owner_key(&self) -> &OwnerKey;
    fn put<'a>(&'a self, at: &'a TokenRef, record: &'a Record, room: Room, now: u64) -> BoxedAnswer<'a, Placed>;
    fn find<'a>(&'a self, at: &'a TokenRef, now: u64) -> BoxedAnswer<'a, Found>;
    fn touch<'a>(&'a self, at: &'a TokenRef, now: u64, until: Option<u64>) -> BoxedAnswer<'a, Touched>;
    fn take<'a>(&'a self, at: &'a TokenRef, now: u64) -> BoxedAnswer<'a, bool>;
    fn renew<'a>(&'a self, old: &'a TokenRef, offer: &'a Offer, now: u64) -> BoxedAnswer<'a, Renewed>;
    fn end<'a>(
        &'a self,
        owner: &'a OwnerTag,
        kind: RecordKind,
        which: Which<'a>,
        remember: u64,
        now: u64,
    ) -> BoxedAnswer<'a, usize>;
    fn list<'a>(&'a self, owner: &'a OwnerTag, kind: RecordKind, now: u64) -> BoxedAnswer<'a, Vec<Record>>;
}

impl<T: TokenStore> DynTokenStore for T {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn owner_key(&self) -> &OwnerKey {
        TokenStore::owner_key(self)
    }

    fn put<'a>(&'a self, at: &'a TokenRef, record: &'a Record, room: Room, now: u64) -> BoxedAnswer<'a, Placed> {
        Box::pin(TokenStore::put(self, at, record, room, now))
    }

    fn find<'a>(&'a self, at: &'a TokenRef, now: u64) -> BoxedAnswer<'a, Found> {
        Box::pin(TokenStore::find(self, at, now))
    }

    fn touch<'a>(&'a self, at: &'a TokenRef, now: u64, until: Option<u64>) -> BoxedAnswer<'a, Touched> {
        Box::pin(TokenStore::touch(self, at, now, until))
    }

    fn take<'a>(&'a self, at: &'a TokenRef, now: u64) -> BoxedAnswer<'a, bool> {
        Box::pin(TokenStore::take(self, at, now))
    }

    fn renew<'a>(&'a self, old: &'a TokenRef, offer: &'a Offer, now: u64) -> BoxedAnswer<'a, Renewed> {
        Box::pin(TokenStore::renew(self, old, offer, now))
    }

    fn end<'a>(
        &'a self,
        owner: &'a OwnerTag,
        kind: RecordKind,
        which: Which<'a>,
        remember: u64,
        now: u64,
    ) -> BoxedAnswer<'a, usize> {
        Box::pin(TokenStore::end(self, owner, kind, which, remember, now))
    }

    fn list<'a>(&'a self, owner: &'a OwnerTag, kind: RecordKind, now: u64) -> BoxedAnswer<'a, Vec<Record>> {
        Box::pin(TokenStore::list(self, owner, kind, now))
    }
}
