//! The nonce store of a single process.

use std::{
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::table::{END_OF_TIME, Found, NonceTag, Table};
use crate::{
    protocol::Retention,
    store::{
        NonceClaim, NonceStatus, NonceStore, Occupancy, Purpose, StoreError, VerifierRegistry,
        holders::{Account, Holders},
    },
};

/// Stores nonces in this process's memory.
///
/// A live nonce takes 18 to 39 bytes. A full store of the default capacity takes about 270 MB. The store frees memory
/// as nonces expire, without a background task. It loses all nonces when the process ends.
///
/// The store holds a fixed number of nonces and never drops a live one. While it is full, requests get a 503.
///
/// # Fairness
///
/// Apps share the room. An app may take more room while it holds less than three times the free room. So a single app
/// can take three quarters of the room, and the rest stays free for other apps, however fast the app claims. An app
/// without nonces is rejected only if there is no room at all. The rule applies to each app id, so the owner of several
/// apps gets the room of several apps.
///
/// Users that sign with [session keys](NonceClaim::owner) share the room of their app by the same rule, and their
/// nonces count for the app. A user may take more room while it holds less than three times the room that the app may
/// still take. So the script of one user leaves room for the app's other users, and an app does not gain room by having
/// many users.
///
/// If `n` apps claim as much as they can, each gets `3 / (3n + 1)` of the room, and `1 / (3n + 1)` stays free. The
/// store does not reserve room for an app: while several large apps hold the room, a new app may get less than an equal
/// part until their nonces expire.
///
/// ```
/// # use countersign::store::MemoryNonceStore;
/// // 2,000 requests per second, each remembered for up to 601 seconds.
/// let nonces = MemoryNonceStore::with_capacity(2_000 * 601);
/// ```
pub struct MemoryNonceStore {
    shards: Box<[Mutex<Table>]>,
    holders: Holders,
    /// The latest second that a caller passed. A thread stores it here before it removes nonces that expired by then.
    latest: AtomicU64,
    /// The number of shards swept since the epoch.
    swept: AtomicU64,
    reclaimed: Mutex<Reclaimed>,
    registry: VerifierRegistry,
}

/// The number of shards, a power of two. Sweeping one takes a quarter of a millisecond at the default capacity.
const SHARDS: usize = 1024;

/// The number of shards swept per second. Each shard is swept about once a minute.
const SWEEPS_PER_SECOND: u64 = 16;

/// The maximum number of shards that one claim sweeps when sweeping is behind.
const SWEEPS_PER_CLAIM: u64 = 32;

/// The number of slots that one claim scans for expired nonces, to within one shard: an eighth of a store of 64,000
/// nonces, or one shard of a store of 8 million. The scan takes about a quarter of a millisecond.
const SLOTS_PER_CLAIM: usize = 1 << 14;

impl MemoryNonceStore {
    /// The default capacity: 8 million live nonces.
    pub const DEFAULT_CAPACITY: usize = 8_000_000;

    /// Creates a store of the default capacity. The store allocates memory as nonces arrive.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(Self::DEFAULT_CAPACITY)
    }

    /// Creates a store of at most this many live nonces. Multiply the requests per second by twice the tolerance plus
    /// one second.
    #[must_use]
    pub fn with_capacity(nonces: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            holders: Holders::new(nonces),
            latest: AtomicU64::new(0),
            swept: AtomicU64::new(0),
            reclaimed: Mutex::default(),
            registry: VerifierRegistry::new(),
        }
    }

    /// Returns the number of nonces in the store: live ones, and expired ones that are not removed yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.holders.held()
    }

    /// Returns whether the store is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the maximum number of live nonces.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.holders.capacity()
    }

    /// Returns the size of the tables in bytes.
    #[must_use]
    pub fn allocated_bytes(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).bytes()).sum()
    }

    fn claim_now(&self, claim: &NonceClaim<'_>, retention: Retention) -> Result<NonceStatus, StoreError> {
        let (now, until) = (retention.now(), retention.until());
        if now.max(until) >= END_OF_TIME {
            return Err(StoreError::new("the time is beyond the year 2514"));
        }
        if now > self.latest.load(Relaxed) {
            self.latest.fetch_max(now, Relaxed);
        }
        self.sweep_some(now);
        let claim = self.locate(claim, until);
        self.try_claim(&claim)
            .or_else(|| self.make_room(now, &claim))
            .ok_or_else(|| StoreError::new(Full { capacity: self.holders.capacity() }))
    }

    /// Returns `None` if there is no room for this app.
    fn try_claim(&self, &Located { shard, tag, holder, until }: &Located) -> Option<NonceStatus> {
        let release = |holder| self.holders.release(holder);
        let mut table = lock(&self.shards[shard]);
        // Read under the lock: another thread may have passed a later second and removed this nonce.
        let now = self.latest.load(Relaxed);
        if until <= now {
            return Some(NonceStatus::Expired);
        }
        let mut found = table.find(tag, now);
        if let Found::Live = found {
            return Some(NonceStatus::Replayed);
        }
        let holder = self.holders.reserve(holder)?;
        if let Found::NoRoom = found {
            table.grow(now, release);
            found = table.find(tag, now);
        }
        let Found::Free(at) = found else {
            // A nonce that does not fit into a slot is rejected.
            release(holder);
            return None;
        };
        table.put(at, tag, holder, until, release);
        Some(NonceStatus::New)
    }

    /// Finds the shard and the tag of a claim. The hash of the app id keys the hash of the nonce, so that no two pairs
    /// have the same input.
    fn locate(&self, claim: &NonceClaim<'_>, until: u64) -> Located {
        let app = self.holders.key_of(claim.app_id());
        let kind = match claim.purpose() {
            Purpose::Request => "",
            // No nonce contains a slash.
            Purpose::Link => "/",
        };
        let nonce = app.hash([claim.nonce().as_str(), kind].map(str::as_bytes));
        let (shard, tag) = ((nonce >> 96) as usize % SHARDS, NonceTag::new(nonce));
        Located { shard, tag, holder: app.with_owner(claim.owner()), until }
    }

    /// Sweeps the shards that are due.
    fn sweep_some(&self, now: u64) {
        let due = now.saturating_mul(SWEEPS_PER_SECOND);
        let swept = self.swept.load(Relaxed);
        if swept >= due {
            return;
        }
        // After a long pause, one sweep of every shard is enough.
        let from = swept.max(due.saturating_sub(SHARDS as u64));
        let slots_per_shard = self.len() / SHARDS * 2 + 1;
        let shards = (SLOTS_PER_CLAIM / slots_per_shard).clamp(1, SWEEPS_PER_CLAIM as usize);
        let to = due.min(from + shards as u64);
        if self.swept.compare_exchange(swept, to, Relaxed, Relaxed).is_ok() {
            (from..to).for_each(|turn| {
                self.sweep(turn as usize % SHARDS, now);
            });
        }
    }

    /// Sweeps expired nonces shard by shard and retries the claim after each shard, until there is room. Only one claim
    /// at a time does this, for up to [`SLOTS_PER_CLAIM`]. If that is not enough, the next claim without room continues
    /// from there.
    fn make_room(&self, now: u64, claim: &Located) -> Option<NonceStatus> {
        let mut reclaimed = match self.reclaimed.try_lock() {
            Ok(reclaimed) => reclaimed,
            Err(TryLockError::Poisoned(error)) => error.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        reclaimed.begin(now);
        let mut slots = 0;
        while slots < SLOTS_PER_CLAIM {
            let swept = self.sweep(reclaimed.next_shard()?, now);
            slots += swept;
            if swept > 0
                && let Some(status) = self.try_claim(claim)
            {
                return Some(status);
            }
        }
        None
    }

    /// Returns the number of scanned slots.
    fn sweep(&self, shard: usize, now: u64) -> usize {
        lock(&self.shards[shard]).sweep(now, |holder| self.holders.release(holder))
    }
}

/// A claim in the form that the tables store.
struct Located {
    shard: usize,
    tag: NonceTag,
    holder: Account,
    until: u64,
}

/// The shards that were reclaimed in the current second. Each is scanned once, because no nonce expires in between.
#[derive(Default)]
struct Reclaimed {
    second: u64,
    next: usize,
    left: usize,
}

impl Reclaimed {
    fn begin(&mut self, now: u64) {
        if now > self.second {
            (self.second, self.left) = (now, SHARDS);
        }
    }

    fn next_shard(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        self.next = (self.next + 1) % SHARDS;
        Some(self.next)
    }
}

impl NonceStore for MemoryNonceStore {
    async fn claim(&self, claim: &NonceClaim<'_>, retention: Retention) -> Result<NonceStatus, StoreError> {
        self.claim_now(claim, retention)
    }

    fn registry(&self) -> Option<&VerifierRegistry> {
        Some(&self.registry)
    }

    fn occupancy(&self) -> Option<Occupancy> {
        Some(Occupancy { held: self.len(), capacity: self.capacity() })
    }
}

impl Default for MemoryNonceStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryNonceStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryNonceStore")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the nonce store has no room for this app: it holds at most {capacity} nonces of all apps together")]
struct Full {
    capacity: usize,
}

/// Ignores poisoning. No code panics while it holds the lock, so the table is consistent.
fn lock(shard: &Mutex<Table>) -> MutexGuard<'_, Table> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "that is how a test fails")]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::protocol::{AppId, Nonce};

    #[test]
    fn nonces_spread_over_the_shards() {
        let store = MemoryNonceStore::new();
        let shard_of = |n: u64| {
            let (app, nonce) = (AppId::parse(b"demo").unwrap(), Nonce::parse(format!("nonce-{n}").as_bytes()).unwrap());
            store.locate(&NonceClaim::new(&app, &nonce), 1).shard
        };
        // About 638 distinct shards are expected.
        assert!((0..1000).map(shard_of).collect::<HashSet<_>>().len() > SHARDS / 2);
    }
}
