//! A submission store that breaks one point of the contract.

use std::{
    collections::HashMap,
    future::pending,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use countersign::{
    clock::{Clock, ManualClock},
    store::{
        Entry, EntryState, Fingerprint, Finish, Lease, Reserved, StoreError, StoredAnswer, SubmissionRef,
        SubmissionStore, WhenLost,
    },
};
use http::{HeaderMap, HeaderValue};
use tokio::task::yield_now;

/// What the store does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    // 1: one lease gets a place.
    RacyReservation,
    RunsTwice,
    RefusesFree,
    // 2: how leases end.
    LeaseTooShort,
    LeaseTooLong,
    DropsLost,
    RunsLostAgain,
    RefusesRenewal,
    RenewalDoesNothing,
    RenewalAddsTime,
    RenewsEnded,
    RenewsFinished,
    RenewalCreates,
    ReservesEnded,
    // 3: takeovers.
    RacyTakeover,
    RefusesTakeover,
    TakesOverRunning,
    TakesOverUnknown,
    TakesOverLateUnknown,
    TakesOverOthers,
    TakesOverDone,
    TakeoverKeepsLease,
    TakeoverKeepsTime,
    // 4: a lease acts on its own entry.
    RenewsOthers,
    FinishesOthers,
    FinishesLostOfOthers,
    ReleasesNext,
    // 5: the lease that holds a place reserves it again.
    RefusesHolder,
    RunsFinishedAgain,
    // 6: late ends.
    RacyFinish,
    RefusesLateDone,
    RefusesLateUnknown,
    RefusesLateRelease,
    FinishesSettled,
    FinishesSettledUnknown,
    FinishesForgotten,
    // 7: done is final.
    RacySettling,
    FinishesTwice,
    SettlesRunning,
    SettlesDone,
    SettlesNothing,
    SettlesNoLost,
    SettleKeepsReleased,
    SettleCreates,
    ForgetsRunning,
    ForgetsNoDone,
    ForgetsNoUnknown,
    ForgetKeeps,
    ForgetsAbsent,
    ReleaseKeeps,
    ReleasesTwice,
    // 8: when entries expire.
    CountsFromReservation,
    RenewalKeepsExpiry,
    FinishKeepsExpiry,
    LateFinishKeepsExpiry,
    ExpiresRunning,
    ExpiresLostEarly,
    ExpiresFinishedEarly,
    KeepsLost,
    KeepsFinished,
    FinishesExpired,
    ReservesNoExpired,
    RepeatProlongsLease,
    RepeatProlongsOwnLease,
    RepeatProlongsLost,
    RepeatProlongsFinished,
    // 9: places are independent.
    MixesPlaces,
    EndsOthers,
    // What an entry contains.
    FingerprintOfLast,
    LosesLocation,
    LosesReplay,
    LosesSecondValue,
    LosesBytesOfHeaders,
    LosesBytesOfBody,
    CutsLongBody,
    EmptyBodyIsNone,
    RepeatGetsNoReplay,
    // 10: full stores.
    DropsEntry,
    DropsFinished,
    RefusesEnds,
    StoresRefused,
    KeepsReleased,
    KeepsForgotten,
    KeepsExpired,
    RacyRoom,
    // 12: failures.
    Hangs,
    Fails,
}

#[derive(Clone)]
struct Slot {
    fingerprint: Fingerprint,
    lease: [u8; 16],
    lease_end: Duration,
    reserved_at: Duration,
    ttl: Duration,
    expires_at: Duration,
    state: State,
}

#[derive(Clone, PartialEq)]
enum State {
    Reserved,
    Unknown,
    Done(StoredAnswer),
}

pub(super) struct Faulty {
    fault: Fault,
    clock: ManualClock,
    room: usize,
    slots: Mutex<HashMap<[u8; 32], Slot>>,
    /// The places that a fault counts as taken, although they are free.
    lost_room: Mutex<usize>,
}

impl Faulty {
    pub(super) fn new(fault: Fault, room: usize, clock: ManualClock) -> Self {
        Self { fault, clock, room, slots: Mutex::default(), lost_room: Mutex::default() }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<[u8; 32], Slot>> {
        self.slots.lock().unwrap()
    }

    fn key(&self, at: &SubmissionRef) -> [u8; 32] {
        let mut key = *at.key();
        if self.is(Fault::MixesPlaces) {
            key = [key[0] >> 5; 32];
        }
        key
    }

    /// The entry of a place, and the time of the call.
    async fn load(&self, at: &SubmissionRef) -> Result<(Option<Slot>, Duration), StoreError> {
        match self.fault {
            Fault::Hangs => pending().await,
            Fault::Fails => return Err(StoreError::new("the disk is full")),
            _ => {}
        }
        let (now, key) = (self.clock.monotonic(), self.key(at));
        let mut slots = self.slots();
        if let Some(slot) = slots.get(&key).filter(|slot| self.is_expired(slot, now)) {
            let is_counted = self.is(Fault::KeepsExpired) || self.is(Fault::ReservesNoExpired);
            if !(is_counted || self.is(Fault::FinishesExpired) && slot.state == State::Reserved) {
                slots.remove(&key);
            }
        }
        Ok((slots.get(&key).cloned(), now))
    }

    fn is_expired(&self, slot: &Slot, now: Duration) -> bool {
        let is_lost = slot.state == State::Reserved && now >= slot.lease_end;
        let is_kept = match self.fault {
            Fault::KeepsLost => is_lost,
            Fault::KeepsFinished => slot.state != State::Reserved,
            _ => false,
        };
        let left = slot.expires_at.saturating_sub(now);
        let is_early = match self.fault {
            Fault::DropsLost => is_lost,
            Fault::ExpiresLostEarly => is_lost && left <= slot.ttl / 4,
            Fault::ExpiresFinishedEarly => slot.state != State::Reserved && left <= slot.ttl / 4,
            Fault::ExpiresRunning => slot.state == State::Reserved && !is_lost && now >= slot.reserved_at + slot.ttl,
            _ => false,
        };
        is_early || (left.is_zero() && !is_kept)
    }

    fn store(&self, at: &SubmissionRef, slot: Option<Slot>) {
        let mut slots = self.slots();
        match slot {
            Some(slot) => slots.insert(self.key(at), slot),
            None => slots.remove(&self.key(at)),
        };
    }

    fn is_running(&self, slot: &Slot, now: Duration) -> bool {
        let lasts = slot.lease_end - slot.reserved_at;
        let end = match self.fault {
            Fault::LeaseTooShort => slot.lease_end - lasts / 2,
            Fault::LeaseTooLong => slot.lease_end + Duration::from_millis(1),
            _ => slot.lease_end,
        };
        slot.state == State::Reserved && now < end
    }

    fn entry(&self, slot: &Slot, now: Duration) -> Entry {
        let state = match &slot.state {
            State::Reserved if self.is_running(slot, now) => EntryState::InFlight,
            State::Reserved | State::Unknown => EntryState::Unknown,
            State::Done(answer) => EntryState::Done(answer.clone()),
        };
        Entry::new(slot.fingerprint, state, slot.expires_at.saturating_sub(now))
    }

    /// Removes what has expired, and reports whether there is room for another entry.
    fn has_room(&self, now: Duration) -> bool {
        let mut slots = self.slots();
        if !self.is(Fault::KeepsExpired) && !self.is(Fault::ReservesNoExpired) {
            slots.retain(|_, slot| !self.is_expired(slot, now));
        }
        slots.len() + *self.lost_room.lock().unwrap() < self.room
    }

    /// Removes an entry, although it has not expired.
    fn drop_entry(&self) {
        let mut slots = self.slots();
        if let Some(key) = slots.keys().min().copied() {
            slots.remove(&key);
        }
    }

    fn new_slot(&self, lease: &Lease, fingerprint: &Fingerprint, ttl: Duration, now: Duration) -> Slot {
        let lease_end = now + lease.lasts;
        let expires_at = match self.fault {
            Fault::CountsFromReservation => now + ttl,
            _ => lease_end + ttl,
        };
        let (fingerprint, lease) = (*fingerprint, lease.id);
        Slot { fingerprint, lease, lease_end, reserved_at: now, ttl, expires_at, state: State::Reserved }
    }

    /// What the store keeps of an answer.
    fn kept(&self, answer: &StoredAnswer) -> StoredAnswer {
        let location = answer.location().filter(|_| !self.is(Fault::LosesLocation)).cloned();
        let kept = StoredAnswer::new(answer.status(), location);
        let Some((headers, body)) = answer.replay() else { return kept };
        let (mut headers, mut body) = (headers.clone(), body.clone());
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self.fault {
            Fault::LosesReplay => return kept,
            Fault::EmptyBodyIsNone if body.is_empty() => return kept,
            Fault::LosesSecondValue => {
                let first: HeaderMap = headers.keys().map(|name| (name.clone(), headers[name].clone())).collect();
                headers = first;
            }
            Fault::LosesBytesOfHeaders => {
                for value in headers.values_mut() {
                    *value = HeaderValue::from_str(&lossy(value.as_bytes())).unwrap();
                }
            }
            Fault::LosesBytesOfBody => body = Bytes::from(lossy(&body)),
            Fault::CutsLongBody => body.truncate(65_535),
            _ => {}
        }
        kept.with_replay(headers, body)
    }

    /// The entry after its end.
    fn ended(&self, slot: &Slot, end: &Finish, now: Duration) -> Option<Slot> {
        let is_late = slot.state == State::Reserved && now >= slot.lease_end;
        let state = match end {
            Finish::Done(answer) => State::Done(self.kept(answer)),
            Finish::Unknown if is_late && self.is(Fault::TakesOverLateUnknown) => State::Reserved,
            Finish::Unknown => State::Unknown,
            _ => return None,
        };
        let keeps_expiry = match self.fault {
            Fault::FinishKeepsExpiry => !is_late,
            Fault::LateFinishKeepsExpiry => is_late,
            _ => false,
        };
        let expires_at = if keeps_expiry { slot.expires_at } else { now + slot.ttl };
        Some(Slot { state, expires_at, ..slot.clone() })
    }

    fn free(&self, at: &SubmissionRef, keeps_room: bool) {
        self.store(at, None);
        if keeps_room {
            *self.lost_room.lock().unwrap() += 1;
        }
    }
}

impl SubmissionStore for Faulty {
    async fn reserve(
        &self,
        at: &SubmissionRef,
        lease: &Lease,
        fingerprint: &Fingerprint,
        ttl: Duration,
        when_lost: WhenLost,
    ) -> Result<Reserved, StoreError> {
        let (slot, now) = self.load(at).await?;
        let Some(mut slot) = slot else {
            let has_room = self.has_room(now);
            if matches!(self.fault, Fault::RacyReservation | Fault::RacyRoom) {
                yield_now().await;
            }
            if self.is(Fault::RefusesFree) {
                let slot = self.new_slot(lease, fingerprint, ttl, now);
                return Ok(Reserved::No(self.entry(&slot, now)));
            }
            if !has_room {
                match self.fault {
                    Fault::StoresRefused => self.store(at, Some(self.new_slot(lease, fingerprint, ttl, now))),
                    Fault::DropsEntry => self.drop_entry(),
                    _ => {}
                }
                return Err(StoreError::new("full"));
            }
            self.store(at, Some(self.new_slot(lease, fingerprint, ttl, now)));
            return Ok(Reserved::Yes);
        };
        if self.is_expired(&slot, now) && !self.is(Fault::ReservesNoExpired) {
            self.store(at, Some(self.new_slot(lease, fingerprint, ttl, now)));
            return Ok(Reserved::Yes);
        }
        let is_running = self.is_running(&slot, now);
        let is_lost = slot.state == State::Reserved && !is_running;
        let is_own = slot.lease == lease.id;
        let is_again = match self.fault {
            Fault::RefusesHolder => false,
            Fault::RunsTwice => is_running,
            Fault::ReservesEnded => is_own && slot.state == State::Reserved,
            Fault::RunsFinishedAgain => is_own,
            _ => is_own && is_running,
        };
        if is_again {
            if self.is(Fault::RepeatProlongsOwnLease) {
                self.store(at, Some(self.new_slot(lease, fingerprint, ttl, slot.reserved_at + lease.lasts / 2)));
            }
            return Ok(Reserved::Yes);
        }
        let takes_over = when_lost == WhenLost::TakeOver;
        let is_same = slot.fingerprint == *fingerprint;
        let is_taken_over = match self.fault {
            Fault::RefusesTakeover => false,
            Fault::RunsLostAgain => is_lost && is_same,
            Fault::TakesOverRunning => takes_over && is_same && slot.state == State::Reserved,
            Fault::TakesOverUnknown => takes_over && is_same && (is_lost || slot.state == State::Unknown),
            Fault::TakesOverOthers => takes_over && is_lost,
            Fault::TakesOverDone => takes_over && is_same && (is_lost || matches!(slot.state, State::Done(_))),
            _ => takes_over && is_same && is_lost,
        };
        if is_taken_over {
            if self.is(Fault::RacyTakeover) {
                yield_now().await;
            }
            let mut new = self.new_slot(lease, fingerprint, ttl, now);
            match self.fault {
                Fault::TakeoverKeepsLease => new.lease = slot.lease,
                Fault::TakeoverKeepsTime => new.lease_end = slot.lease_end,
                _ => {}
            }
            self.store(at, Some(new));
            return Ok(Reserved::Yes);
        }
        let repeated = match self.fault {
            Fault::RepeatProlongsLease => is_running,
            Fault::RepeatProlongsLost => is_lost,
            Fault::RepeatProlongsFinished => slot.state != State::Reserved,
            _ => false,
        };
        if repeated {
            if is_running {
                slot.lease_end = now + lease.lasts;
            }
            slot.expires_at = slot.lease_end.max(now) + ttl;
            self.store(at, Some(slot.clone()));
        }
        let mut entry = self.entry(&slot, now);
        match (&entry.state, self.fault) {
            (_, Fault::FingerprintOfLast) => entry.fingerprint = *fingerprint,
            (EntryState::Done(answer), Fault::RepeatGetsNoReplay) => {
                entry.state = EntryState::Done(StoredAnswer::new(answer.status(), answer.location().cloned()));
            }
            _ => {}
        }
        Ok(Reserved::No(entry))
    }

    async fn renew(&self, at: &SubmissionRef, lease: &Lease) -> Result<bool, StoreError> {
        let (slot, now) = self.load(at).await?;
        let Some(mut slot) = slot else {
            if self.is(Fault::RenewalCreates) {
                self.store(at, Some(self.new_slot(lease, &Fingerprint::from_bytes([0; 32]), lease.lasts, now)));
            }
            return Ok(false);
        };
        let is_own = slot.lease == lease.id || self.is(Fault::RenewsOthers);
        let is_renewed = match self.fault {
            Fault::RefusesRenewal => false,
            Fault::RenewsEnded => slot.state == State::Reserved,
            Fault::RenewsFinished => slot.state != State::Reserved || self.is_running(&slot, now),
            _ => self.is_running(&slot, now),
        };
        if !is_own || !is_renewed {
            return Ok(false);
        }
        if slot.state == State::Reserved && !self.is(Fault::RenewalDoesNothing) {
            let from = if self.is(Fault::RenewalAddsTime) { slot.lease_end } else { now };
            slot.lease_end = from + lease.lasts;
            if !self.is(Fault::RenewalKeepsExpiry) {
                slot.expires_at = slot.lease_end + slot.ttl;
            }
            self.store(at, Some(slot));
        }
        Ok(true)
    }

    async fn finish(&self, at: &SubmissionRef, lease: &Lease, end: &Finish) -> Result<bool, StoreError> {
        let (slot, now) = self.load(at).await?;
        let is_ended = |slot: &Slot| self.is(Fault::ReservesNoExpired) && self.is_expired(slot, now);
        let Some(slot) = slot.filter(|slot| !is_ended(slot)) else {
            if self.is(Fault::FinishesForgotten) {
                let slot = self.new_slot(lease, &Fingerprint::from_bytes([1; 32]), lease.lasts, now);
                self.store(at, self.ended(&slot, end, now));
                return Ok(true);
            }
            return Ok(false);
        };
        if self.is(Fault::RefusesEnds) && self.slots().len() >= self.room {
            return Err(StoreError::new("full"));
        }
        let is_running = self.is_running(&slot, now);
        let is_own = match self.fault {
            Fault::FinishesOthers => true,
            Fault::FinishesLostOfOthers => slot.lease == lease.id || !is_running,
            Fault::ReleasesNext => slot.lease == lease.id || *end == Finish::Release,
            _ => slot.lease == lease.id,
        };
        let is_meant = match (self.fault, end) {
            (Fault::RefusesLateDone, Finish::Done(_)) => is_running,
            (Fault::RefusesLateUnknown, Finish::Unknown) => is_running,
            (Fault::RefusesLateRelease, Finish::Release) => is_running,
            (Fault::FinishesTwice | Fault::FinishesSettled, _) => slot.state != State::Unknown,
            (Fault::FinishesSettledUnknown, _) => !matches!(slot.state, State::Done(_)),
            _ => slot.state == State::Reserved,
        };
        if !is_own || !is_meant {
            return Ok(false);
        }
        if self.is(Fault::RacyFinish) {
            yield_now().await;
        }
        match self.ended(&slot, end, now) {
            Some(ended) => {
                self.store(at, Some(ended));
                if self.is(Fault::DropsFinished) && self.slots().len() >= self.room {
                    self.store(at, None);
                }
            }
            None if self.is(Fault::ReleaseKeeps) => {}
            None => {
                self.free(at, self.is(Fault::KeepsReleased));
                if self.is(Fault::ReleasesTwice) {
                    yield_now().await;
                    self.store(at, None);
                }
                if self.is(Fault::EndsOthers) {
                    self.slots().clear();
                }
            }
        }
        Ok(true)
    }

    async fn state(&self, at: &SubmissionRef) -> Result<Option<Entry>, StoreError> {
        let (slot, now) = self.load(at).await?;
        let is_shown = |slot: &Slot| !self.is_expired(slot, now);
        Ok(slot.filter(is_shown).map(|slot| self.entry(&slot, now)))
    }

    async fn settle(&self, at: &SubmissionRef, end: &Finish) -> Result<bool, StoreError> {
        let (slot, now) = self.load(at).await?;
        let Some(slot) = slot else {
            if self.is(Fault::SettleCreates) {
                let lease = Lease { id: [0; 16], lasts: Duration::from_secs(1) };
                let slot = self.new_slot(&lease, &Fingerprint::from_bytes([1; 32]), lease.lasts, now);
                self.store(at, self.ended(&slot, end, now));
            }
            return Ok(false);
        };
        let is_lost = slot.state == State::Reserved && !self.is_running(&slot, now);
        let is_meant = match self.fault {
            Fault::SettlesNothing => false,
            Fault::SettlesNoLost => slot.state == State::Unknown,
            Fault::SettlesRunning => !matches!(slot.state, State::Done(_)),
            Fault::SettlesDone => slot.state != State::Reserved || is_lost,
            _ => slot.state == State::Unknown || is_lost,
        };
        if !is_meant {
            return Ok(false);
        }
        if self.is(Fault::RacySettling) {
            yield_now().await;
        }
        match self.ended(&slot, end, now) {
            None if self.is(Fault::SettleKeepsReleased) => {}
            ended => self.store(at, ended),
        }
        Ok(true)
    }

    async fn forget(&self, at: &SubmissionRef) -> Result<bool, StoreError> {
        let (slot, now) = self.load(at).await?;
        let Some(slot) = slot else { return Ok(self.is(Fault::ForgetsAbsent)) };
        let is_kept = match self.fault {
            Fault::ForgetsRunning => false,
            Fault::ForgetsNoDone => matches!(slot.state, State::Done(_)),
            Fault::ForgetsNoUnknown => slot.state == State::Unknown,
            _ => self.is_running(&slot, now),
        };
        if is_kept || self.is_running(&slot, now) && !self.is(Fault::ForgetsRunning) {
            return Ok(false);
        }
        if !self.is(Fault::ForgetKeeps) {
            self.free(at, self.is(Fault::KeepsForgotten));
        }
        Ok(true)
    }
}
