//! The token store of a single process.

use std::{
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use super::{
    owned::{Full, Owned},
    shard::Shard,
};
use crate::{
    protocol::token::{OwnerKey, OwnerTag, RecordKind, TokenRef},
    store::{
        StoreError,
        token::{
            contract::TokenStore,
            record::{EndReason, Found, Offer, Placed, Record, Renewed, Room, Touched, Which},
        },
    },
};

/// Stores tokens and grants in this process's memory.
///
/// The store holds a fixed number of records and never drops a live one. While it is full, [`put`](TokenStore::put) and
/// [`renew`](TokenStore::renew) fail. It loses all tokens and grants when the process ends, so all users log in again,
/// and all links with a grant end.
pub struct MemoryTokenStore {
    owner_key: OwnerKey,
    sessions: Shards,
    grants: Shards,
    /// The number of entries of all owners.
    held: AtomicUsize,
    capacity: usize,
}

type Shards = Box<[Mutex<Shard>]>;

/// The number of shards of a kind, a power of two.
const SHARDS: usize = 16;

/// How many owners a new token sweeps, of those with tokens whose end is long over.
const SWEPT: usize = 4;

/// How many such owners of each shard a new token sweeps in a full store.
const SWEPT_IF_FULL: usize = 16;

impl MemoryTokenStore {
    /// The default capacity: a million records.
    pub const DEFAULT_CAPACITY: usize = 1_000_000;

    /// Creates a store of the default capacity, with an owner key of this process.
    ///
    /// # Errors
    ///
    /// Fails if the system has no random bytes.
    pub fn new() -> Result<Self, StoreError> {
        Self::with_capacity(Self::DEFAULT_CAPACITY)
    }

    /// Creates a store that holds at most this many records.
    ///
    /// # Errors
    ///
    /// Fails if the system has no random bytes.
    pub fn with_capacity(capacity: usize) -> Result<Self, StoreError> {
        let mut bytes = vec![0; 32];
        getrandom::fill(&mut bytes).map_err(StoreError::new)?;
        let owner_key = OwnerKey::new(bytes).map_err(StoreError::new)?;
        let shards = || (0..SHARDS).map(|_| Mutex::default()).collect();
        Ok(Self { owner_key, sessions: shards(), grants: shards(), held: AtomicUsize::new(0), capacity })
    }

    /// The number of records, live ones and ended ones that are not removed yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.load(Relaxed)
    }

    /// Whether there are no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Finds a token or a grant without a future, which would be allocated for each request.
    pub(crate) fn find_at_once(&self, at: &TokenRef, now: u64) -> Found {
        self.shard(at.owner(), at.kind()).get(at.owner()).map_or(Found::Unknown, |owned| owned.find(at, now))
    }

    /// Runs `act` on the tokens of an owner. It adds none.
    fn with<T>(&self, owner: &OwnerTag, kind: RecordKind, now: u64, act: impl FnOnce(&mut Owned) -> T) -> T {
        let (result, change) = self.shard(owner, kind).change(owner, now, act);
        self.held.fetch_sub(change.removed, Relaxed);
        result
    }

    /// Runs `act` on the tokens of an owner, and tells it whether there is room for one more.
    fn with_room<T>(
        &self,
        at: &TokenRef,
        now: u64,
        act: impl FnOnce(&mut Owned, bool) -> Result<T, Full>,
    ) -> Result<T, StoreError> {
        if self.len() >= self.capacity {
            self.make_room(now);
        }
        let mut shard = self.shard(at.owner(), at.kind());
        self.held.fetch_sub(shard.sweep(now, SWEPT), Relaxed);
        // The room is reserved first, so that racing calls do not exceed the capacity.
        let more = |held| if held < self.capacity { Some(held + 1) } else { None };
        let has_room = self.held.fetch_update(Relaxed, Relaxed, more).is_ok();
        let (result, change) = shard.change(at.owner(), now, |owned| act(owned, has_room));
        self.held.fetch_sub(usize::from(has_room) + change.removed - change.added, Relaxed);
        result.map_err(|Full| {
            StoreError::new(format!("the token store holds {} records, and has no room for more", self.capacity))
        })
    }

    /// Removes tokens whose end is long over, until there is room for one. It reads a limited number of owners, so that a
    /// full store still answers fast.
    fn make_room(&self, now: u64) {
        for shard in self.sessions.iter().chain(&self.grants) {
            self.held.fetch_sub(locked(shard).sweep(now, SWEPT_IF_FULL), Relaxed);
            if self.len() < self.capacity {
                return;
            }
        }
    }

    fn shard(&self, owner: &OwnerTag, kind: RecordKind) -> MutexGuard<'_, Shard> {
        let shards = match kind {
            RecordKind::Session => &self.sessions,
            RecordKind::Grant => &self.grants,
        };
        // The last byte is not part of the hash in a shard.
        let [.., last] = *owner.as_bytes();
        locked(&shards[usize::from(last) % SHARDS])
    }
}

fn locked(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TokenStore for MemoryTokenStore {
    fn owner_key(&self) -> &OwnerKey {
        &self.owner_key
    }

    async fn put(&self, at: &TokenRef, record: &Record, room: Room, now: u64) -> Result<Placed, StoreError> {
        self.with_room(at, now, |owned, has_room| owned.put(at, record, room, has_room, now))
    }

    async fn find(&self, at: &TokenRef, now: u64) -> Result<Found, StoreError> {
        Ok(self.find_at_once(at, now))
    }

    async fn touch(&self, at: &TokenRef, now: u64, until: Option<u64>) -> Result<Touched, StoreError> {
        Ok(self.with(at.owner(), at.kind(), now, |owned| owned.touch(at, now, until)))
    }

    async fn take(&self, at: &TokenRef, now: u64) -> Result<bool, StoreError> {
        Ok(self.with(at.owner(), at.kind(), now, |owned| owned.take(at, now)))
    }

    async fn renew(&self, old: &TokenRef, offer: &Offer, now: u64) -> Result<Renewed, StoreError> {
        self.with_room(old, now, |owned, has_room| owned.renew(old, offer, has_room, now))
    }

    async fn end(
        &self,
        owner: &OwnerTag,
        kind: RecordKind,
        which: Which<'_>,
        remember: u64,
        now: u64,
    ) -> Result<usize, StoreError> {
        Ok(self.with(owner, kind, now, |owned| owned.end(which, EndReason::Revoked, remember, now)))
    }

    async fn list(&self, owner: &OwnerTag, kind: RecordKind, now: u64) -> Result<Vec<Record>, StoreError> {
        Ok(self.with(owner, kind, now, |owned| owned.list(now)))
    }
}

impl fmt::Debug for MemoryTokenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTokenStore")
            .field("held", &self.len())
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}
