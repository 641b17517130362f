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

/// Remembers nonces in this process's memory.
///
/// It takes 18 to 39 bytes for a live nonce, about 270 MB at the default capacity, gives memory back as nonces expire
/// without a task of its own, and forgets everything when the process ends.
///
/// It holds a fixed number of nonces and never drops a live one: when it is full, requests get a 503.
///
/// # Fairness
///
/// Apps share the room: an app may hold more nonces as long as it holds less than three times the free room. An app alone
/// gets three quarters of the room. However fast it claims, the rest is left for the others, and an app that holds nothing is
/// refused only if there is no room at all. The rule is per app id: many apps of one owner get the room of many.
///
/// Users whose [session keys](NonceClaim::owner) sign share the room of their app by the same rule, and their nonces count as the
/// app's: a user may hold more nonces as long as it holds less than three times what the app may still take. So one user's
/// script leaves room for the app's other users, and an app wins no room by many users.
///
/// With `n` apps that claim as much as they can, each gets 3 of `3n + 1` parts of the room, and one part stays free. This
/// does not reserve room for an app: where many large apps hold the room, a newcomer may hold less than its equal part until
/// their nonces expire.
///
/// ```
/// # use countersign::store::MemoryNonceStore;
/// // 2,000 requests per second, each remembered for up to 601 seconds.
/// let nonces = MemoryNonceStore::with_capacity(2_000 * 601);
/// ```
pub struct MemoryNonceStore {
    shards: Box<[Mutex<Table>]>,
    holders: Holders,
    /// The latest second that was told. Whoever forgot something as of then told it before.
    latest: AtomicU64,
    /// Shards swept so far, of those that are due since the epoch.
    swept: AtomicU64,
    reclaimed: Mutex<Reclaimed>,
    registry: VerifierRegistry,
}

/// A power of two. One is swept in a quarter of a millisecond at the default capacity.
const SHARDS: usize = 1024;

/// Every shard is swept once in about a minute.
const SWEEPS_PER_SECOND: u64 = 16;

/// How many shards one claim sweeps at the most, where the sweeping is behind.
const SWEEPS_PER_CLAIM: u64 = 32;

/// How many slots one claim looks at in search of expired nonces, give or take a shard: an eighth of a store of 64,000 nonces, one
/// shard of a store of 8 million. That takes about a quarter of a millisecond.
const SLOTS_PER_CLAIM: usize = 1 << 14;

impl MemoryNonceStore {
    /// 8 million live nonces.
    pub const DEFAULT_CAPACITY: usize = 8_000_000;

    /// A store of the default capacity. Memory is taken as nonces come.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(Self::DEFAULT_CAPACITY)
    }

    /// A store of at most this many live nonces: requests per second times twice the tolerance and a second.
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

    /// How many nonces it holds: the live ones, and expired ones that were not given back yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.holders.held()
    }

    /// Whether it holds no nonce at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many live nonces it can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.holders.capacity()
    }

    /// The bytes that its tables take.
    #[must_use]
    pub fn allocated_bytes(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).bytes()).sum()
    }

    fn claim_now(&self, claim: &NonceClaim<'_>, lifetime: Retention) -> Result<NonceStatus, StoreError> {
        let (now, until) = (lifetime.now(), lifetime.until());
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

    /// `None` if there is no room for this app.
    fn try_claim(&self, &Located { shard, tag, holder, until }: &Located) -> Option<NonceStatus> {
        let release = |holder| self.holders.release(holder);
        let mut table = lock(&self.shards[shard]);
        // Read under the lock: another thread may have been told a later second, and have forgotten this very nonce.
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
            // What cannot be remembered is not let in.
            release(holder);
            return None;
        };
        table.put(at, tag, holder, until, release);
        Some(NonceStatus::New)
    }

    /// The hash of the app id keys the hash of the nonce, so that no two pairs read the same.
    fn locate(&self, claim: &NonceClaim<'_>, until: u64) -> Located {
        let app = self.holders.key_of(claim.app_id());
        let kind = match claim.purpose() {
            Purpose::Request => "",
            // No nonce has one.
            Purpose::Link => "/",
        };
        let nonce = app.hash([claim.nonce().as_str(), kind].map(str::as_bytes));
        let (shard, tag) = ((nonce >> 96) as usize % SHARDS, NonceTag::new(nonce));
        Located { shard, tag, holder: app.with_owner(claim.owner()), until }
    }

    /// Sweeps the shards whose turn has come.
    fn sweep_some(&self, now: u64) {
        let due = now.saturating_mul(SWEEPS_PER_SECOND);
        let swept = self.swept.load(Relaxed);
        if swept >= due {
            return;
        }
        // After a long silence once around is enough.
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

    /// Claims again after each shard whose expired nonces are given back, until there is room. One claim at a time does
    /// this, up to [`SLOTS_PER_CLAIM`]; where that is not enough, the next claim without room goes on from there.
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
                && let Some(occurrence) = self.try_claim(claim)
            {
                return Some(occurrence);
            }
        }
        None
    }

    /// Returns how many slots were looked at.
    fn sweep(&self, shard: usize, now: u64) -> usize {
        lock(&self.shards[shard]).sweep(now, |holder| self.holders.release(holder))
    }
}

/// A claim, as the tables know it.
struct Located {
    shard: usize,
    tag: NonceTag,
    holder: Account,
    until: u64,
}

/// Which shards were reclaimed in a second. None has to be twice, for no nonce expires in between.
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
    async fn claim(&self, claim: &NonceClaim<'_>, lifetime: Retention) -> Result<NonceStatus, StoreError> {
        self.claim_now(claim, lifetime)
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

/// Nothing panics while a table is locked: it is whole even if a thread died elsewhere.
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
        // By chance 638 differ, give or take a few.
        assert!((0..1000).map(shard_of).collect::<HashSet<_>>().len() > SHARDS / 2);
    }
}
