//! The token store of a single process.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use super::{
    contract::TokenStore,
    record::{
        EndReason, Found, Offer, Placed, Record, Renewed, Room, SessionId, SessionLimit, TokenKind, Touched, Which,
    },
};
use crate::{
    protocol::{
        AppId,
        token::{OwnerKey, OwnerTag, TokenRef},
    },
    store::StoreError,
};

/// Stores tokens in this process's memory.
///
/// The store holds a fixed number of records and never drops a live one. While it is full, [`put`](TokenStore::put) and
/// [`renew`](TokenStore::renew) fail. It loses all tokens when the process ends, so all users log in again.
pub struct MemoryTokenStore {
    owner_key: OwnerKey,
    shards: Box<[Mutex<HashMap<OwnerTag, Owned>>]>,
    hasher: RandomState,
    /// The number of entries of all owners.
    held: AtomicUsize,
    capacity: usize,
}

/// The number of shards, a power of two.
const SHARDS: usize = 16;

/// How long an entry is kept after its end, in seconds.
const KEPT: u64 = 60;

/// The most renewals of a session within one overlap.
const MAX_RENEWALS: usize = 4;

/// The most ended tokens of one app that an owner remembers.
const MAX_ENDED: usize = 64;

/// The tokens of one owner, in the order in which they were put.
#[derive(Default)]
struct Owned(Vec<Entry>);

struct Entry {
    digest: [u8; 32],
    state: State,
}

enum State {
    Live {
        record: Record,
        /// The token that this one succeeds, until this one is used.
        predecessor: Option<[u8; 32]>,
    },
    Renewed {
        record: Record,
        offer: Box<Offer>,
        until: u64,
    },
    Ended {
        app_id: AppId,
        reason: EndReason,
        until: u64,
    },
}

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
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Ok(Self { owner_key, shards, hasher: RandomState::new(), held: AtomicUsize::new(0), capacity })
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

    /// Runs `act` on the tokens of an owner, after it has removed those whose end is long over.
    fn with<T>(&self, owner: &OwnerTag, now: u64, act: impl FnOnce(&mut Owned) -> T) -> T {
        let mut shard = self.shard(owner);
        let owned = shard.entry(*owner).or_default();
        let before = owned.0.len();
        owned.purge(now);
        let result = act(owned);
        let after = owned.0.len();
        if owned.0.is_empty() {
            shard.remove(owner);
        }
        if after >= before {
            self.held.fetch_add(after - before, Relaxed);
        } else {
            self.held.fetch_sub(before - after, Relaxed);
        }
        result
    }

    fn shard(&self, owner: &OwnerTag) -> MutexGuard<'_, HashMap<OwnerTag, Owned>> {
        let i = self.hasher.hash_one(owner) as usize % SHARDS;
        self.shards[i].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes entries whose end is long over, of all owners, if the store is full.
    fn make_room(&self, now: u64) -> Result<(), StoreError> {
        if self.held.load(Relaxed) < self.capacity {
            return Ok(());
        }
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, owned| {
                let before = owned.0.len();
                owned.purge(now);
                self.held.fetch_sub(before - owned.0.len(), Relaxed);
                !owned.0.is_empty()
            });
        }
        match self.held.load(Relaxed) < self.capacity {
            true => Ok(()),
            false => Err(StoreError::new(format!(
                "the token store holds {} records, and has no room for more",
                self.capacity
            ))),
        }
    }
}

impl TokenStore for MemoryTokenStore {
    fn owner_key(&self) -> &OwnerKey {
        &self.owner_key
    }

    async fn put(&self, at: &TokenRef, record: &Record, room: Room, now: u64) -> Result<Placed, StoreError> {
        self.make_room(now)?;
        Ok(self.with(at.owner(), now, |owned| owned.put(at, record, room, now)))
    }

    async fn find(&self, at: &TokenRef, now: u64) -> Result<Found, StoreError> {
        let shard = self.shard(at.owner());
        Ok(shard.get(at.owner()).map_or(Found::Unknown, |owned| owned.find(at, now)))
    }

    async fn touch(&self, at: &TokenRef, now: u64, until: Option<u64>) -> Result<Touched, StoreError> {
        Ok(self.with(at.owner(), now, |owned| owned.touch(at, now, until)))
    }

    async fn take(&self, at: &TokenRef, now: u64) -> Result<bool, StoreError> {
        Ok(self.with(at.owner(), now, |owned| owned.take(at, now)))
    }

    async fn renew(&self, old: &TokenRef, offer: &Offer, now: u64) -> Result<Renewed, StoreError> {
        self.make_room(now)?;
        Ok(self.with(old.owner(), now, |owned| owned.renew(old, offer, now)))
    }

    async fn end(&self, owner: &OwnerTag, which: Which<'_>, remember: u64, now: u64) -> Result<usize, StoreError> {
        Ok(self.with(owner, now, |owned| owned.end(which, EndReason::Revoked, remember, now)))
    }

    async fn list(&self, owner: &OwnerTag, now: u64) -> Result<Vec<Record>, StoreError> {
        Ok(self.with(owner, now, |owned| owned.list(now)))
    }
}

impl Owned {
    fn purge(&mut self, now: u64) {
        self.0.retain(|entry| now < entry.end().saturating_add(KEPT));
    }

    fn get(&self, at: &TokenRef) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.digest == *at.digest())
    }

    fn live(&self, now: u64) -> impl Iterator<Item = &Record> {
        self.0.iter().filter_map(move |entry| match &entry.state {
            State::Live { record, .. } if record.is_live(now) => Some(record),
            _ => None,
        })
    }

    fn put(&mut self, at: &TokenRef, record: &Record, room: Room, now: u64) -> Placed {
        let same_limit = |other: &&Record| {
            other.is_plain() && other.app_id == record.app_id && other.device == record.device && record.is_plain()
        };
        let plain: Vec<SessionId> = self.live(now).filter(same_limit).map(|record| record.id).collect();
        let mut replaced = &plain[..0];
        match room.limit {
            Some(SessionLimit::Refuse(limit)) if record.is_plain() && plain.len() >= limit => return Placed::Refused,
            Some(SessionLimit::NewestWins(limit)) if record.is_plain() => {
                replaced = &plain[..(plain.len() + 1).saturating_sub(limit.max(1))];
            }
            _ => {}
        }
        let of_app = self.live(now).filter(|other| other.app_id == record.app_id).count();
        if of_app - replaced.len() >= room.max {
            return Placed::Refused;
        }
        for id in replaced {
            self.end(Which::One(*id), EndReason::Replaced, room.remember, now);
        }
        let state = State::Live { record: record.clone(), predecessor: None };
        self.0.push(Entry { digest: *at.digest(), state });
        Placed::Done { ended: replaced.len() }
    }

    fn find(&self, at: &TokenRef, now: u64) -> Found {
        match self.get(at).map(|entry| &entry.state) {
            Some(State::Live { record, predecessor }) if record.is_live(now) => {
                Found::Live { record: record.clone(), seed: None, is_unused_successor: predecessor.is_some() }
            }
            Some(State::Renewed { record, offer, until }) if record.is_live(now) && now < *until => {
                Found::Live { record: record.clone(), seed: Some(offer.seed), is_unused_successor: false }
            }
            Some(State::Ended { app_id, reason, until }) if now < *until => {
                Found::Ended { app_id: app_id.clone(), reason: *reason }
            }
            _ => Found::Unknown,
        }
    }

    fn touch(&mut self, at: &TokenRef, now: u64, until: Option<u64>) -> Touched {
        if !matches!(self.find(at, now), Found::Live { .. }) {
            return Touched::Gone;
        }
        let Some(entry) = self.0.iter_mut().find(|entry| entry.digest == *at.digest()) else { return Touched::Gone };
        let State::Live { record, predecessor } = &mut entry.state else { return Touched::Done };
        if let (Some(idle), Some(until)) = (&mut record.idle_until, until) {
            record.seen_at = record.seen_at.max(now);
            *idle = until.max(*idle);
        }
        if let Some(predecessor) = predecessor.take() {
            self.start_overlap(&predecessor, now);
        }
        Touched::Done
    }

    /// The successor of this token is used, so the token ends after the overlap.
    fn start_overlap(&mut self, digest: &[u8; 32], now: u64) {
        let entry = self.0.iter_mut().find(|entry| entry.digest == *digest);
        if let Some(Entry { state: State::Renewed { offer, until, .. }, .. }) = entry {
            *until = (*until).min(now.saturating_add(offer.overlap));
        }
    }

    fn take(&mut self, at: &TokenRef, now: u64) -> bool {
        let taken = self.0.iter().position(|entry| {
            let is_live = matches!(&entry.state, State::Live { record, .. } if record.is_live(now));
            entry.digest == *at.digest() && is_live
        });
        taken.map(|i| self.0.remove(i)).is_some()
    }

    fn renew(&mut self, old: &TokenRef, offer: &Offer, now: u64) -> Renewed {
        let Some(i) = self.0.iter().position(|entry| entry.digest == *old.digest()) else { return Renewed::NotLive };
        let record = match &self.0[i].state {
            State::Renewed { record, offer, until } if record.is_live(now) && now < *until => {
                return Renewed::Kept { seed: offer.seed, record: offer.record.clone() };
            }
            State::Live { record, .. } if record.is_live(now) && record.kind != TokenKind::OneTime => record.clone(),
            _ => return Renewed::NotLive,
        };
        let in_overlap = |entry: &&Entry| matches!(&entry.state, State::Renewed { record: other, until, .. } if other.id == record.id && now < *until);
        if self.0.iter().filter(in_overlap).count() >= MAX_RENEWALS {
            return Renewed::TooOften;
        }
        let until = record.end();
        let State::Live { predecessor, .. } =
            std::mem::replace(&mut self.0[i].state, State::Renewed { record, offer: Box::new(offer.clone()), until })
        else {
            return Renewed::NotLive;
        };
        // A token that is renewed was used.
        if let Some(predecessor) = predecessor {
            self.start_overlap(&predecessor, now);
        }
        let state = State::Live { record: offer.record.clone(), predecessor: Some(*old.digest()) };
        // The successor takes the place of the old token in the order.
        self.0.insert(i + 1, Entry { digest: *offer.successor.digest(), state });
        Renewed::Kept { seed: offer.seed, record: offer.record.clone() }
    }

    fn end(&mut self, which: Which<'_>, reason: EndReason, remember: u64, now: u64) -> usize {
        let mut ended: Vec<SessionId> = Vec::new();
        let until = now.saturating_add(remember);
        for entry in &mut self.0 {
            let (State::Live { record, .. } | State::Renewed { record, .. }) = &entry.state else { continue };
            if which.selects(record) {
                if record.is_live(now) && !ended.contains(&record.id) {
                    ended.push(record.id);
                }
                entry.state = State::Ended { app_id: record.app_id.clone(), reason, until };
            }
        }
        self.forget_ended(now);
        ended.len()
    }

    /// Keeps the newest ended tokens of each app, and those alone that are still remembered.
    fn forget_ended(&mut self, now: u64) {
        let mut counts: HashMap<AppId, usize> = HashMap::new();
        let mut keep: Vec<bool> = self
            .0
            .iter()
            .rev()
            .map(|entry| match &entry.state {
                State::Ended { app_id, until, .. } => {
                    let count = counts.entry(app_id.clone()).or_default();
                    *count += 1;
                    now < *until && *count <= MAX_ENDED
                }
                _ => true,
            })
            .collect();
        self.0.retain(|_| keep.pop().unwrap_or(true));
    }

    fn list(&self, now: u64) -> Vec<Record> {
        self.live(now).cloned().collect()
    }
}

impl Entry {
    fn end(&self) -> u64 {
        match &self.state {
            State::Live { record, .. } => record.end(),
            State::Renewed { record, until, .. } => record.end().min(*until),
            State::Ended { until, .. } => *until,
        }
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
