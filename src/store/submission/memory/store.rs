//! The submission store of a single process.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    copy::copy,
    table::{Held, State, Table},
};
use crate::{
    clock::{Clock, SystemClock},
    store::{
        StoreError,
        holders::Holders,
        submission::{
            contract::SubmissionStore,
            entry::{Entry, Fingerprint, Finish, Lease, Reserved, SubmissionRef, WhenLost},
        },
    },
};

/// Stores submissions in this process's memory.
///
/// It forgets all submissions when the process ends, so a submission that is sent again after a restart runs again. For
/// several machines, and for submissions that must not run again after a restart, use a store that outlives the process.
///
/// The store holds a fixed number of submissions. While it is full, new submissions get a 503. Apps share the room, and the
/// users of an app share the room of the app, by the rule of [`MemoryNonceStore`](crate::store::MemoryNonceStore#fairness).
///
/// The headers and bodies of all stored answers together take a fixed number of bytes, which apps share by the same rule. If
/// there is no room for an answer, the store keeps its status and location only. No submission is lost or runs again for that: a client that submits again gets
/// `duplicate_submission` instead of the answer. Each header counts as 128 bytes more than its name and value, which is
/// about what it takes in memory.
///
/// Expired submissions are removed by later calls, up to four by each.
///
/// ```
/// # use countersign::store::MemorySubmissionStore;
/// // 50 submissions per second, each remembered for a day, and 256 MiB of answers.
/// let submissions = MemorySubmissionStore::with_capacity(50 * 86_400, 256 << 20);
/// ```
pub struct MemorySubmissionStore {
    table: Mutex<Table>,
    holders: Holders,
    clock: Arc<dyn Clock>,
}

/// How many expired submissions each call removes at most.
const REMOVED_PER_CALL: usize = 4;

impl MemorySubmissionStore {
    /// The default capacity: a million submissions.
    pub const DEFAULT_CAPACITY: usize = 1_000_000;

    /// The default size of all stored answers: 64 MiB.
    pub const DEFAULT_BYTES: usize = 64 << 20;

    /// Creates a store of the default capacity and size. It allocates memory as submissions arrive.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(Self::DEFAULT_CAPACITY, Self::DEFAULT_BYTES)
    }

    /// Creates a store of at most this many submissions, with headers and bodies of answers of at most `bytes` together. With 0
    /// bytes, the store keeps no answer that has headers or a body.
    #[must_use]
    pub fn with_capacity(submissions: usize, bytes: usize) -> Self {
        Self {
            table: Mutex::new(Table::new(bytes)),
            holders: Holders::new(submissions),
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// Sets the clock, of which the store reads the monotonic time. Default: the system's clock.
    #[must_use]
    pub fn with_clock(self, clock: impl Clock) -> Self {
        Self { clock: Arc::new(clock), ..self }
    }

    /// Returns the number of submissions, including expired ones that are not removed yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Returns whether the store is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the size of all stored headers and bodies, in bytes, with 128 bytes more for each header.
    #[must_use]
    pub fn answer_bytes(&self) -> usize {
        self.lock().bytes()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `act` at the current time, after some expired submissions were removed.
    fn with<T>(&self, act: impl FnOnce(&mut Table, Duration) -> T) -> T {
        let mut table = self.lock();
        let now = self.clock.monotonic();
        for _ in 0..REMOVED_PER_CALL {
            match table.remove_expired(now) {
                Some(holder) => self.holders.release(holder),
                None => break,
            }
        }
        act(&mut table, now)
    }

    fn reserve_at_once(
        &self,
        at: &SubmissionRef,
        lease: &Lease,
        fingerprint: &Fingerprint,
        ttl: Duration,
        when_lost: WhenLost,
    ) -> Result<Reserved, StoreError> {
        self.with(|table, now| {
            if let Some(held) = table.get(at.key(), now) {
                let is_own = held.is_running(now) && held.is_reserved_by(&lease.id);
                let is_taken_over =
                    when_lost == WhenLost::TakeOver && held.is_lost(now) && held.fingerprint == *fingerprint;
                match (is_own, is_taken_over) {
                    (true, _) => return Ok(Reserved::Yes),
                    (false, false) => return Ok(Reserved::No(held.to_entry(now))),
                    (false, true) => {}
                }
            }
            // An entry that is taken over or has expired leaves its room to the new one.
            let app = self.holders.key_of(at.app_id());
            let holder = match table.remove(at.key()) {
                Some(holder) => holder,
                None => self.holders.reserve(app.with_owner(at.owner())).ok_or_else(|| self.full())?,
            };
            let lease_end = now.saturating_add(lease.lasts);
            let expires_at = lease_end.saturating_add(ttl);
            let state = State::Reserved { lease_end };
            let held = Held { fingerprint: *fingerprint, lease: lease.id, ttl, state, expires_at, app, holder };
            table.insert(*at.key(), held);
            Ok(Reserved::Yes)
        })
    }

    fn full(&self) -> StoreError {
        let capacity = self.holders.capacity();
        StoreError::new(format!(
            "the submission store has room for {capacity} submissions, and none for another one of this app or user"
        ))
    }

    /// Ends the entry of a place, if `is_meant` selects it. Returns whether it did.
    fn end(&self, at: &SubmissionRef, end: &Finish, is_meant: impl FnOnce(&Held, Duration) -> bool) -> bool {
        let end = copy(end); // Before the lock is taken: a body may be long.
        self.with(|table, now| {
            let is_there = table.get(at.key(), now).is_some_and(|held| is_meant(held, now));
            if is_there && let Some(holder) = table.end(at.key(), end, now) {
                self.holders.release(holder);
            }
            is_there
        })
    }
}

impl SubmissionStore for MemorySubmissionStore {
    async fn reserve(
        &self,
        at: &SubmissionRef,
        lease: &Lease,
        fingerprint: &Fingerprint,
        ttl: Duration,
        when_lost: WhenLost,
    ) -> Result<Reserved, StoreError> {
        self.reserve_at_once(at, lease, fingerprint, ttl, when_lost)
    }

    async fn renew(&self, at: &SubmissionRef, lease: &Lease) -> Result<bool, StoreError> {
        Ok(self.with(|table, now| {
            let held = table.get(at.key(), now).filter(|held| held.is_running(now) && held.is_reserved_by(&lease.id));
            let Some(ttl) = held.map(|held| held.ttl) else { return false };
            let lease_end = now.saturating_add(lease.lasts);
            table.set(at.key(), State::Reserved { lease_end }, lease_end.saturating_add(ttl));
            true
        }))
    }

    async fn finish(&self, at: &SubmissionRef, lease: &Lease, end: &Finish) -> Result<bool, StoreError> {
        Ok(self.end(at, end, |held, _| held.is_reserved_by(&lease.id)))
    }

    async fn state(&self, at: &SubmissionRef) -> Result<Option<Entry>, StoreError> {
        Ok(self.with(|table, now| table.get(at.key(), now).map(|held| held.to_entry(now))))
    }

    async fn settle(&self, at: &SubmissionRef, end: &Finish) -> Result<bool, StoreError> {
        Ok(self.end(at, end, Held::is_unknown))
    }

    async fn forget(&self, at: &SubmissionRef) -> Result<bool, StoreError> {
        Ok(self.end(at, &Finish::Release, |held, now| !held.is_running(now)))
    }
}

impl Default for MemorySubmissionStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemorySubmissionStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemorySubmissionStore").field("held", &self.holders.held()).finish_non_exhaustive()
    }
}
