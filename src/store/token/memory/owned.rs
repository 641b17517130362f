//! The rules over the tokens of one owner.

use std::{cmp::Reverse, collections::HashMap};

use super::entry::{Entry, State};
use crate::{
    protocol::{AppId, token::TokenRef},
    store::token::record::{
        EndReason, Found, Offer, Placed, Record, Renewed, Room, SessionId, SessionLimit, TokenKind, Touched, Which,
    },
};

/// The most renewals of a session within one overlap.
const MAX_RENEWALS: usize = 4;

/// The most ended tokens of one app that an owner remembers.
const MAX_ENDED: usize = 64;

/// The tokens of one owner.
pub(super) struct Owned {
    /// Sorted by digest.
    entries: Vec<Entry>,
    /// No entry can be removed before this second.
    due: u64,
}

/// The store is full, and nothing has changed.
pub(super) struct Full;

impl Owned {
    pub(super) fn new() -> Self {
        Self { entries: Vec::new(), due: u64::MAX }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// A second before which [`purge`](Self::purge) removes nothing.
    pub(super) fn due(&self) -> u64 {
        self.due
    }

    /// Removes entries whose end is long over.
    pub(super) fn purge(&mut self, now: u64) {
        if now >= self.due {
            self.entries.retain(|entry| now < entry.kept_until());
            self.find_due();
        }
    }

    /// Stores a new token. `has_room` is whether the store has room for one more entry.
    pub(super) fn put(
        &mut self,
        at: &TokenRef,
        record: &Record,
        room: Room,
        has_room: bool,
        now: u64,
    ) -> Result<Placed, Full> {
        let same_limit = |other: &&Record| {
            other.is_plain() && other.app_id == record.app_id && other.device == record.device && record.is_plain()
        };
        let plain: Vec<SessionId> = match room.limit {
            Some(_) => self.live(now).into_iter().filter(same_limit).map(|record| record.id).collect(),
            None => Vec::new(),
        };
        let mut replaced = &plain[..0];
        match room.limit {
            Some(SessionLimit::Refuse(limit)) if record.is_plain() && plain.len() >= limit => {
                return Ok(Placed::Refused);
            }
            Some(SessionLimit::NewestWins(limit)) if record.is_plain() => {
                replaced = &plain[..(plain.len() + 1).saturating_sub(limit.max(1))];
            }
            _ => {}
        }
        let of_app = self.entries.iter().filter_map(|entry| entry.live(now));
        let of_app = of_app.filter(|other| other.app_id == record.app_id).count();
        if of_app - replaced.len() >= room.max {
            return Ok(Placed::Refused);
        }
        if !has_room {
            return Err(Full);
        }
        for id in replaced {
            self.end(Which::One(*id), EndReason::Replaced, room.remember, now);
        }
        let order = self.entries.iter().map(|entry| entry.order + 1).max().unwrap_or_default();
        let state = State::Live { record: record.clone(), predecessor: None };
        self.insert(Entry::new(*at.digest(), order, state));
        Ok(Placed::Done { ended: replaced.len() })
    }

    pub(super) fn find(&self, at: &TokenRef, now: u64) -> Found {
        match self.position(at.digest()).map(|i| &*self.entries[i].state) {
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

    pub(super) fn touch(&mut self, at: &TokenRef, now: u64, until: Option<u64>) -> Touched {
        let Some(i) = self.position(at.digest()) else { return Touched::Gone };
        let (record, predecessor) = match &mut *self.entries[i].state {
            State::Live { record, predecessor } if record.is_live(now) => (record, predecessor),
            State::Renewed { record, until, .. } if record.is_live(now) && now < *until => return Touched::Done,
            _ => return Touched::Gone,
        };
        if let (Some(idle), Some(until)) = (&mut record.idle_until, until) {
            record.seen_at = record.seen_at.max(now);
            *idle = until.max(*idle);
        }
        if let Some(predecessor) = predecessor.take() {
            self.start_overlap(&predecessor, now);
        }
        Touched::Done
    }

    pub(super) fn take(&mut self, at: &TokenRef, now: u64) -> bool {
        let live = self.position(at.digest()).filter(|&i| self.entries[i].live(now).is_some());
        live.map(|i| self.entries.remove(i)).is_some()
    }

    /// Renews a token. `has_room` is whether the store has room for one more entry.
    pub(super) fn renew(&mut self, old: &TokenRef, offer: &Offer, has_room: bool, now: u64) -> Result<Renewed, Full> {
        let record = match self.position(old.digest()).map(|i| &*self.entries[i].state) {
            Some(State::Renewed { record, offer, until }) if record.is_live(now) && now < *until => {
                return Ok(Renewed::Kept { seed: offer.seed, record: offer.record.clone() });
            }
            Some(State::Live { record, .. }) if record.is_live(now) && record.kind != TokenKind::OneTime => {
                record.clone()
            }
            _ => return Ok(Renewed::NotLive),
        };
        // Otherwise a renewal loop would grow the store.
        self.entries.retain(|entry| !entry.is_renewal_of(record.id) || now < entry.state.end());
        if self.entries.iter().filter(|entry| entry.is_renewal_of(record.id)).count() >= MAX_RENEWALS {
            return Ok(Renewed::TooOften);
        }
        if !has_room {
            return Err(Full);
        }
        let Some(i) = self.position(old.digest()) else { return Ok(Renewed::NotLive) };
        let (order, until) = (self.entries[i].order, record.end());
        let renewed = State::Renewed { record, offer: Box::new(offer.clone()), until };
        // A token that is renewed was used.
        if let State::Live { predecessor: Some(predecessor), .. } =
            std::mem::replace(&mut *self.entries[i].state, renewed)
        {
            self.start_overlap(&predecessor, now);
        }
        let state = State::Live { record: offer.record.clone(), predecessor: Some(*old.digest()) };
        self.insert(Entry::new(*offer.successor.digest(), order, state));
        Ok(Renewed::Kept { seed: offer.seed, record: offer.record.clone() })
    }

    pub(super) fn end(&mut self, which: Which<'_>, reason: EndReason, remember: u64, now: u64) -> usize {
        let mut ended: Vec<SessionId> = Vec::new();
        let until = now.saturating_add(remember);
        for entry in &mut self.entries {
            let Some(record) = entry.record().filter(|record| which.selects(record)) else { continue };
            if record.is_live(now) && !ended.contains(&record.id) {
                ended.push(record.id);
            }
            *entry.state = State::Ended { app_id: record.app_id.clone(), reason, until };
        }
        self.forget_ended(now);
        self.find_due();
        ended.len()
    }

    /// The live sessions, in the order in which they were put.
    pub(super) fn list(&self, now: u64) -> Vec<Record> {
        self.live(now).into_iter().cloned().collect()
    }

    fn live(&self, now: u64) -> Vec<&Record> {
        let live = self.entries.iter().filter_map(|entry| entry.live(now).map(|record| (entry.order, record)));
        let mut live: Vec<_> = live.collect();
        live.sort_by_key(|(order, _)| *order);
        live.into_iter().map(|(_, record)| record).collect()
    }

    fn position(&self, digest: &[u8; 32]) -> Option<usize> {
        self.entries.binary_search_by(|entry| entry.digest.cmp(digest)).ok()
    }

    fn insert(&mut self, entry: Entry) {
        self.due = self.due.min(entry.kept_until());
        match self.entries.binary_search_by(|other| other.digest.cmp(&entry.digest)) {
            Ok(i) => self.entries[i] = entry,
            Err(i) => {
                if self.entries.len() == self.entries.capacity() {
                    // Most owners have one token. A vector would begin with four.
                    self.entries.reserve_exact((self.entries.len() / 2).max(1));
                }
                self.entries.insert(i, entry);
            }
        }
    }

    /// The successor of this token is used, so the token ends after the overlap.
    fn start_overlap(&mut self, digest: &[u8; 32], now: u64) {
        let Some(i) = self.position(digest) else { return };
        if let State::Renewed { offer, until, .. } = &mut *self.entries[i].state {
            *until = (*until).min(now.saturating_add(offer.overlap));
            self.due = self.due.min(self.entries[i].kept_until());
        }
    }

    /// Keeps the newest ended tokens of each app, and only while they are remembered.
    fn forget_ended(&mut self, now: u64) {
        let mut newest: Vec<usize> = (0..self.entries.len()).collect();
        newest.sort_by_key(|&i| Reverse(self.entries[i].order));
        let mut counts: HashMap<&AppId, usize> = HashMap::new();
        let mut is_kept = vec![true; newest.len()];
        for i in newest {
            if let State::Ended { app_id, until, .. } = &*self.entries[i].state {
                let count = counts.entry(app_id).or_default();
                *count += 1;
                is_kept[i] = now < *until && *count <= MAX_ENDED;
            }
        }
        let mut is_kept = is_kept.into_iter();
        self.entries.retain(|_| is_kept.next().unwrap_or(true));
    }

    fn find_due(&mut self) {
        self.due = self.entries.iter().map(Entry::kept_until).min().unwrap_or(u64::MAX);
    }
}
