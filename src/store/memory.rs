//! The nonce store of a single process.

use std::{
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use siphasher::sip128::{Hasher128, SipHasher13};

use super::{
    NonceStore, Occupancy, Occurrence, StoreError,
    quota::Quota,
    table::{APPS, END_OF_TIME, Found, NonceTag, Table},
};
use crate::protocol::{AppId, Lifetime, Nonce};

/// Remembers nonces in this process's memory.
///
/// It takes 18 to 39 bytes for a live nonce, about 270 MB at the default capacity, gives memory back as nonces expire
/// without a task of its own, and forgets everything when the process ends.
///
/// It holds a fixed number of nonces and never drops a live one: when it is full, requests get a 503. The last eighth
/// of it is open only to apps that hold less than a 64th, so that one app's flood does not lock the others out.
///
/// ```
/// # use countersign::store::MemoryNonceStore;
/// // 2,000 requests per second, each remembered for up to 601 seconds.
/// let nonces = MemoryNonceStore::with_capacity(2_000 * 601);
/// ```
pub struct MemoryNonceStore {
    shards: Box<[Mutex<Table>]>,
    quota: Quota,
    /// A caller cannot choose nonces that meet in one place.
    hash_keys: (u64, u64),
    /// The latest second that was told. Whoever forgot something as of then told it before.
    latest: AtomicU64,
    /// Shards swept so far, of those that are due since the epoch.
    swept: AtomicU64,
    /// The latest second at which all expired nonces were reclaimed.
    reclaimed: AtomicU64,
}

/// A power of two. One is swept in less than a millisecond at the default capacity.
const SHARDS: usize = 256;

/// Every shard is swept once in about a minute.
const SWEEPS_PER_SECOND: u64 = 4;

/// How many shards one claim sweeps at the most, where the sweeping lies behind.
const SWEEPS_PER_CLAIM: u64 = 8;

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
        let random = || RandomState::new().build_hasher().finish();
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            quota: Quota::new(nonces),
            hash_keys: (random(), random()),
            latest: AtomicU64::new(0),
            swept: AtomicU64::new(0),
            reclaimed: AtomicU64::new(0),
        }
    }

    /// How many nonces it holds: the live ones, and expired ones that were not given back yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.quota.held()
    }

    /// Whether it holds no nonce at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many live nonces it can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.quota.capacity()
    }

    /// The bytes that its tables take.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).bytes()).sum()
    }

    fn claim_now(&self, app: &AppId, nonce: &Nonce, lifetime: Lifetime) -> Result<Occurrence, StoreError> {
        let (now, until) = (lifetime.now(), lifetime.until());
        if now.max(until) >= END_OF_TIME {
            return Err(StoreError::new("the time is beyond the year 36812"));
        }
        if now > self.latest.load(Relaxed) {
            self.latest.fetch_max(now, Relaxed);
        }
        self.sweep_some(now);
        let (shard, key) = self.locate(app, nonce);
        self.try_claim(shard, key, until)
            .or_else(|| {
                self.reclaim(now);
                self.try_claim(shard, key, until)
            })
            .ok_or_else(|| StoreError::new(Full { capacity: self.quota.capacity() }))
    }

    /// `None` if there is no room for this app.
    fn try_claim(&self, shard: usize, key: NonceTag, until: u64) -> Option<Occurrence> {
        let release = |app| self.quota.release(app);
        let mut table = lock(&self.shards[shard]);
        // Read under the lock: another thread may have been told a later second, and have forgotten this very nonce.
        let now = self.latest.load(Relaxed);
        if until <= now {
            return Some(Occurrence::Late);
        }
        let mut found = table.find(key, now);
        if let Found::Live = found {
            return Some(Occurrence::Repeated);
        }
        if !self.quota.reserve(key.app()) {
            return None;
        }
        if let Found::NoRoom = found {
            table.grow(now, release);
            found = table.find(key, now);
        }
        let Found::Free(at) = found else {
            // What cannot be remembered is not let in.
            release(key.app());
            return None;
        };
        table.put(at, key, until, release);
        Some(Occurrence::First)
    }

    /// The hash of the app id keys the hash of the nonce, so that no two pairs read the same. It also picks the app's
    /// counter.
    fn locate(&self, app: &AppId, nonce: &Nonce) -> (usize, NonceTag) {
        let hash = |bytes: &[u8], (k0, k1)| {
            let mut hasher = SipHasher13::new_with_keys(k0, k1);
            hasher.write(bytes);
            hasher.finish128()
        };
        let app = hash(app.as_str().as_bytes(), self.hash_keys);
        let nonce = hash(nonce.as_str().as_bytes(), (app.h1, app.h2)).as_u128();
        ((nonce >> 96) as usize % SHARDS, NonceTag::new(nonce, app.h1 as u16 % APPS as u16))
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
        let to = due.min(from + SWEEPS_PER_CLAIM);
        if self.swept.compare_exchange(swept, to, Relaxed, Relaxed).is_ok() {
            (from..to).for_each(|turn| self.sweep(turn as usize % SHARDS, now));
        }
    }

    /// Gives every expired nonce back, at most once in a second: none expires in between.
    fn reclaim(&self, now: u64) {
        if self.reclaimed.load(Relaxed) < now {
            (0..SHARDS).for_each(|shard| self.sweep(shard, now));
            self.reclaimed.fetch_max(now, Relaxed);
        }
    }

    fn sweep(&self, shard: usize, now: u64) {
        lock(&self.shards[shard]).sweep(now, |app| self.quota.release(app));
    }
}

impl NonceStore for MemoryNonceStore {
    async fn claim(&self, app: &AppId, nonce: &Nonce, lifetime: Lifetime) -> Result<Occurrence, StoreError> {
        self.claim_now(app, nonce, lifetime)
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

    #[test]
    fn nonces_spread_over_the_shards_and_apps_over_the_counters() {
        let store = MemoryNonceStore::new();
        let places: Vec<_> = (0..1000)
            .map(|n| {
                let (app, nonce) = (format!("app-{n}"), format!("nonce-{n}"));
                store.locate(&AppId::parse(app.as_bytes()).unwrap(), &Nonce::parse(nonce.as_bytes()).unwrap())
            })
            .collect();
        // By chance 251 and 638 differ, give or take a few.
        assert!(places.iter().map(|(shard, _)| shard).collect::<HashSet<_>>().len() > SHARDS * 3 / 4);
        assert!(places.iter().map(|(_, key)| key.app()).collect::<HashSet<_>>().len() > APPS / 2);
    }
}
