//! How many nonces each app holds in the memory store, and whether it may hold one more.
//!
//! An app may hold more as long as it holds less than [`GROWTH`] times the free room. So an app alone gets three quarters of
//! the room, and the last quarter is left for others, however fast it claims: as others come, the free room shrinks, and with
//! it what the large ones may hold. This is the dynamic threshold of shared-memory switches (Choudhury and Hahne, IEEE/ACM
//! Transactions on Networking, 1998). Every app is counted by itself: none is ever refused for what another one holds.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hash, Hasher},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
};

/// With α times the free room as the limit, an app alone gets α / (α + 1) of the whole.
const GROWTH: usize = 3;

/// Who holds how much of the room.
pub(super) struct Holders {
    capacity: usize,
    total: AtomicUsize,
    counts: Counts,
    shards: Box<[Mutex<Shard>]>,
    /// Ids given out so far, those aside that were given back.
    next: AtomicU32,
}

/// A keyed hash of the app id.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct HolderKey(pub(super) u64, pub(super) u64);

/// An app that holds nonces, in a few bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HolderId(u32);

impl HolderId {
    /// A slot of the table has room for so many.
    pub(super) const BITS: u32 = 24;

    pub(super) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    pub(super) fn bits(self) -> u32 {
        self.0
    }
}

/// A power of two.
const SHARDS: usize = 64;

#[derive(Default)]
struct Shard {
    ids: HashMap<HolderKey, HolderId, BuildHasherDefault<KeyHasher>>,
    unused: Vec<HolderId>,
    /// Apps that hold nothing any more are looked for when there are so many.
    cleanup_at: usize,
}

impl Holders {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            total: AtomicUsize::new(0),
            counts: Counts::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            next: AtomicU32::new(0),
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn held(&self) -> usize {
        self.total.load(Relaxed)
    }

    /// Takes a place for this app, or `None` where the app may not have one more.
    pub(super) fn reserve(&self, app: HolderKey) -> Option<HolderId> {
        // Counts grow under the lock only, so that an id that is unused stays unused.
        let mut shard = lock(&self.shards[app.0 as usize % SHARDS]);
        let id = self.id_of(app, &mut shard)?;
        let count = self.counts.get(id);
        let free = self.capacity.saturating_sub(self.held());
        if count.load(Relaxed) as usize >= free.saturating_mul(GROWTH) {
            return None;
        }
        self.total.fetch_update(Relaxed, Relaxed, |total| (total < self.capacity).then_some(total + 1)).ok()?;
        count.fetch_add(1, Relaxed);
        Some(id)
    }

    /// Gives a place back.
    pub(super) fn release(&self, id: HolderId) {
        self.counts.get(id).fetch_sub(1, Relaxed);
        self.total.fetch_sub(1, Relaxed);
    }

    fn id_of(&self, app: HolderKey, shard: &mut Shard) -> Option<HolderId> {
        if let Some(id) = shard.ids.get(&app) {
            return Some(*id);
        }
        self.clean_up(shard);
        let id = match shard.unused.pop() {
            Some(id) => id,
            None => {
                let next = |next| (next < 1 << HolderId::BITS).then_some(next + 1);
                HolderId(self.next.fetch_update(Relaxed, Relaxed, next).ok()?)
            }
        };
        shard.ids.insert(app, id);
        Some(id)
    }

    /// Takes the ids of apps that hold nothing any more. Each time it leaves room for as many new apps as are left, so that a
    /// new app costs a constant time on average.
    fn clean_up(&self, shard: &mut Shard) {
        if shard.ids.len() < shard.cleanup_at {
            return;
        }
        let (ids, unused) = (&mut shard.ids, &mut shard.unused);
        ids.retain(|_, id| {
            let is_used = self.counts.get(*id).load(Relaxed) > 0;
            if !is_used {
                unused.push(*id);
            }
            is_used
        });
        shard.cleanup_at = (ids.len() * 2).max(64);
    }
}

/// Counts by id. Memory is taken in chunks, and a count never moves.
struct Counts(Box<[OnceLock<Box<[AtomicU32]>>]>);

const CHUNK: usize = 1 << 12;

impl Counts {
    fn new() -> Self {
        Self((0..(1 << HolderId::BITS) / CHUNK).map(|_| OnceLock::new()).collect())
    }

    fn get(&self, id: HolderId) -> &AtomicU32 {
        let id = id.0 as usize;
        let chunk = self.0[id / CHUNK].get_or_init(|| (0..CHUNK).map(|_| AtomicU32::new(0)).collect());
        &chunk[id % CHUNK]
    }
}

impl Hash for HolderKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0 ^ self.1);
    }
}

/// The key is a keyed hash already.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Nothing panics while a shard is locked: it is whole even if a thread died elsewhere.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "that is how a test fails")]
mod tests {
    use super::*;

    fn app(n: u64) -> HolderKey {
        let hash = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        HolderKey(hash, hash.rotate_left(32))
    }

    #[test]
    fn an_app_alone_gets_three_quarters() {
        let holders = Holders::new(1000);
        let held = (0..1000).take_while(|_| holders.reserve(app(1)).is_some()).count();
        assert_eq!((held, holders.held()), (750, 750));
    }

    #[test]
    fn an_app_that_holds_nothing_gets_the_last_place() {
        let holders = Holders::new(64);
        while holders.reserve(app(0)).is_some() {}
        let newcomers = (1..100).take_while(|n| holders.reserve(app(*n)).is_some()).count();
        assert_eq!((newcomers, holders.held()), (16, 64), "until there is no room at all");
    }

    #[test]
    fn ids_of_apps_without_nonces_are_used_again() {
        let holders = Holders::new(1000);
        for n in 0..1_000_000 {
            holders.release(holders.reserve(app(n)).unwrap());
        }
        assert!(holders.next.load(Relaxed) as usize <= SHARDS * 64, "{:?}", holders.next);
        assert_eq!(holders.held(), 0);
    }

    #[test]
    fn an_id_in_use_is_not_given_to_another_app() {
        let holders = Holders::new(100_000);
        let kept = holders.reserve(app(0)).unwrap();
        for n in 1..100_000 {
            let id = holders.reserve(app(n)).unwrap();
            assert_ne!(id, kept);
            holders.release(id);
        }
        assert_eq!(holders.reserve(app(0)).unwrap(), kept);
    }
}
