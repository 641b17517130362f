//! Limits how many nonces, or submissions, each app holds in a memory store.
//!
//! An app may take more room while it holds less than [`GROWTH`] times the free room. So a single app can take three
//! quarters of the room, and the last quarter stays free for other apps, however fast the app claims. As other apps
//! claim, the free room shrinks, and so does the limit of the large apps. This is the dynamic threshold of
//! shared-memory switches (Choudhury and Hahne, IEEE/ACM Transactions on Networking, 1998). Each app has a count of its
//! own: the nonces of one app never count for another.
//!
//! The users of an app share the app's limit by the same rule.

use std::{
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
};

use siphasher::sip128::{Hasher128, SipHasher13};

use super::OwnerTag;
use crate::protocol::AppId;

/// With a limit of α times the free room, a single app gets α / (α + 1) of the whole.
const GROWTH: usize = 3;

/// The number of nonces that each app and each user holds.
pub(super) struct Holders {
    capacity: usize,
    total: AtomicUsize,
    counts: Counts,
    shards: Box<[Mutex<Shard>]>,
    /// The number of ids issued so far. Released ids are reused and not counted twice.
    next: AtomicU32,
    /// Keys the hash, so that callers cannot choose ids that collide.
    hash_key: HolderKey,
}

/// A keyed hash of an app id, or of a user's tag with the app's hash as the key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct HolderKey(u64, u64);

/// The account that a nonce counts for: an app, or a user within an app.
#[derive(Clone, Copy)]
pub(super) struct Account {
    app: HolderKey,
    user: Option<HolderKey>,
}

impl HolderKey {
    pub(super) fn hash<const N: usize>(self, parts: [&[u8]; N]) -> u128 {
        let mut hasher = SipHasher13::new_with_keys(self.0, self.1);
        parts.iter().for_each(|part| hasher.write(part));
        hasher.finish128().as_u128()
    }

    fn of(self, bytes: &[u8]) -> Self {
        let hash = self.hash([bytes]);
        Self(hash as u64, (hash >> 64) as u64)
    }

    pub(super) fn with_owner(self, owner: Option<&OwnerTag>) -> Account {
        Account { app: self, user: owner.map(|owner| self.of(owner.as_bytes())) }
    }
}

/// A short id of an app or a user that holds nonces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HolderId(u32);

impl HolderId {
    /// The size of an id in a slot of the table.
    pub(super) const BITS: u32 = 24;

    pub(super) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    pub(super) fn bits(self) -> u32 {
        self.0
    }
}

/// The number of shards, a power of two.
const SHARDS: usize = 64;

#[derive(Default)]
struct Shard {
    ids: HashMap<HolderKey, HolderId, BuildHasherDefault<KeyHasher>>,
    unused: Vec<HolderId>,
    /// The number of ids at which those without nonces are removed.
    cleanup_at: usize,
}

impl Holders {
    pub(super) fn new(capacity: usize) -> Self {
        let random = || RandomState::new().build_hasher().finish();
        Self {
            capacity,
            total: AtomicUsize::new(0),
            counts: Counts::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            next: AtomicU32::new(0),
            hash_key: HolderKey(random(), random()),
        }
    }

    pub(super) fn key_of(&self, app: &AppId) -> HolderKey {
        self.hash_key.of(app.as_str().as_bytes())
    }

    /// The account of an owner for itself, whatever the app.
    #[cfg(feature = "redis")]
    pub(super) fn account_of(&self, owner: &OwnerTag) -> Account {
        self.hash_key.of(owner.as_bytes()).with_owner(None)
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn held(&self) -> usize {
        self.total.load(Relaxed)
    }

    /// Reserves room for one nonce. Returns `None` if the app or the user has reached its limit.
    pub(super) fn reserve(&self, account: Account) -> Option<HolderId> {
        // Counts grow only under the lock, so that an unused id stays unused.
        let mut shard = lock(&self.shards[account.app.0 as usize % SHARDS]);
        // Before the first id is found: a cleanup after that would remove an app whose first nonce is not counted yet.
        self.clean_up(&mut shard);
        let app = self.id_of(account.app, &mut shard)?;
        let held = self.counts.of(app).places();
        let may_hold = self.capacity.saturating_sub(self.held()).saturating_mul(GROWTH);
        if held >= may_hold {
            return None;
        }
        let user = match account.user {
            Some(user) => {
                let user = self.id_of(user, &mut shard)?;
                if self.counts.of(user).places() >= (may_hold - held).saturating_mul(GROWTH) {
                    return None;
                }
                Some(user)
            }
            None => None,
        };
        self.total.fetch_update(Relaxed, Relaxed, |total| (total < self.capacity).then_some(total + 1)).ok()?;
        self.counts.of(app).take(None);
        if let Some(user) = user {
            self.counts.of(user).take(Some(app));
        }
        Some(user.unwrap_or(app))
    }

    /// Releases the room of one nonce.
    pub(super) fn release(&self, id: HolderId) {
        if let Some(app) = self.counts.of(id).give_back() {
            self.counts.of(app).give_back();
        }
        self.total.fetch_sub(1, Relaxed);
    }

    fn id_of(&self, holder: HolderKey, shard: &mut Shard) -> Option<HolderId> {
        if let Some(id) = shard.ids.get(&holder) {
            return Some(*id);
        }
        let id = match shard.unused.pop() {
            Some(id) => id,
            None => {
                let next = |next| (next < 1 << HolderId::BITS).then_some(next + 1);
                HolderId(self.next.fetch_update(Relaxed, Relaxed, next).ok()?)
            }
        };
        shard.ids.insert(holder, id);
        Some(id)
    }

    /// Removes the ids of apps and users without nonces. The next cleanup runs when the number of ids has doubled, so
    /// that a new id costs constant time on average.
    fn clean_up(&self, shard: &mut Shard) {
        if shard.ids.len() < shard.cleanup_at {
            return;
        }
        let (ids, unused) = (&mut shard.ids, &mut shard.unused);
        ids.retain(|_, id| {
            let is_used = self.counts.of(*id).places() > 0;
            if !is_used {
                unused.push(*id);
            }
            is_used
        });
        shard.cleanup_at = (ids.len() * 2).max(64);
    }
}

/// The counts by id. Memory is allocated in chunks, and a count never moves.
struct Counts(Box<[OnceLock<Box<[Count]>>]>);

struct Count {
    places: AtomicU32,
    /// The app that a user belongs to, or [`NO_APP`].
    app: AtomicU32,
}

const CHUNK: usize = 1 << 12;
const NO_APP: u32 = u32::MAX;

impl Counts {
    fn new() -> Self {
        Self((0..(1 << HolderId::BITS) / CHUNK).map(|_| OnceLock::new()).collect())
    }

    fn of(&self, id: HolderId) -> &Count {
        let id = id.0 as usize;
        let new = || Count { places: AtomicU32::new(0), app: AtomicU32::new(NO_APP) };
        let chunk = self.0[id / CHUNK].get_or_init(|| (0..CHUNK).map(|_| new()).collect());
        &chunk[id % CHUNK]
    }
}

impl Count {
    fn places(&self) -> usize {
        self.places.load(Relaxed) as usize
    }

    fn take(&self, app: Option<HolderId>) {
        // The app changes only while the count is zero: a user's nonces keep the id of its app in use.
        self.app.store(app.map_or(NO_APP, |app| app.0), Relaxed);
        self.places.fetch_add(1, Relaxed);
    }

    /// Returns the app of a user, whose count must be reduced too.
    fn give_back(&self) -> Option<HolderId> {
        let app = self.app.load(Relaxed);
        self.places.fetch_sub(1, Relaxed);
        (app != NO_APP).then_some(HolderId(app))
    }
}

impl Hash for HolderKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0 ^ self.1);
    }
}

/// Passes the key through, because it is a keyed hash already.
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

/// Ignores poisoning. No code panics while it holds the lock, so the data is consistent.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "that is how a test fails")]
mod tests {
    use super::*;

    fn app(n: u64) -> Account {
        HolderKey(1, 2).of(&n.to_le_bytes()).with_owner(None)
    }

    fn user(app: u64, n: u128) -> Account {
        HolderKey(1, 2).of(&app.to_le_bytes()).with_owner(Some(&OwnerTag::from_bytes(n.to_le_bytes())))
    }

    fn take_all(holders: &Holders, account: Account) -> usize {
        (0..holders.capacity()).take_while(|_| holders.reserve(account).is_some()).count()
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

    #[test]
    fn new_user_of_a_new_app_gets_an_id_of_its_own() {
        let holders = Holders::new(1_000_000);
        for n in 0..100_000 {
            // One id more now and then, so that the cleanup falls between an app and its user too.
            if n % 3 == 0 {
                holders.release(holders.reserve(app(n + 1_000_000)).unwrap());
            }
            let user_id = holders.reserve(user(n, 0)).unwrap();
            let app_id = holders.reserve(app(n)).unwrap();
            assert_ne!(user_id, app_id, "{n}");
            assert_eq!([holders.counts.of(user_id).places(), holders.counts.of(app_id).places()], [1, 2], "{n}");
            holders.release(user_id);
            holders.release(app_id);
        }
    }

    #[test]
    fn user_leaves_room_for_others_of_its_app() {
        let holders = Holders::new(1000);
        let script = take_all(&holders, user(1, 1));
        assert!((650..750).contains(&script), "{script}");
        assert!(holders.reserve(user(1, 2)).is_some(), "another user");
        assert!(take_all(&holders, app(1)) > 0, "the app itself");
        assert!(take_all(&holders, app(2)) > 100, "another app");
    }

    #[test]
    fn app_wins_no_room_by_users() {
        let holders = Holders::new(1000);
        let held: usize = (0..2000).filter(|n| holders.reserve(user(1, *n)).is_some()).count();
        assert_eq!(held, 750);
        assert!(holders.reserve(app(1)).is_none());
    }

    #[test]
    fn places_of_users_come_back_to_their_app() {
        let holders = Holders::new(1000);
        for round in 0..100_u128 {
            let ids: Vec<_> = (0..750).map_while(|n| holders.reserve(user(1, round * 1000 + n))).collect();
            assert_eq!((ids.len(), holders.held()), (750, 750), "{round}");
            ids.into_iter().for_each(|id| holders.release(id));
        }
        assert_eq!(take_all(&holders, app(1)), 750);
    }
}
