//! The rules over the tokens of one owner.

use std::{cmp::Reverse, collections::HashMap};

use super::entry::{Entry, State};
use crate::{
    protocol::{AppId, token::TokenRef},
    store::token::record::{EndReason, Found, Record, SessionId, Which},
};

/// The most ended tokens of one app that an owner remembers.
const MAX_ENDED: usize = 64;

/// The tokens of one owner.
pub(super) struct Owned {
    /// Sorted by digest.
    pub(super) entries: Vec<Entry>,
    /// No entry can be removed before this second.
    pub(super) due: u64,
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

    pub(super) fn take(&mut self, at: &TokenRef, now: u64) -> bool {
        let live = self.position(at.digest()).filter(|&i| self.entries[i].live(now).is_some());
        live.map(|i| self.entries.remove(i)).is_some()
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

    pub(super) fn live(&self, now: u64) -> Vec<&Record> {
        let live = self.entries.iter().filter_map(|entry| entry.live(now).map(|record| (entry.order, record)));
        let mut live: Vec<_> = live.collect();
        live.sort_by_key(|(order, _)| *order);
        live.into_iter().map(|(_, record)| record).collect()
    }

    pub(super) fn position(&self, digest: &[u8; 32]) -> Option<usize> {
        self.entries.binary_search_by(|entry| entry.digest.cmp(digest)).ok()
    }

    pub(super) fn insert(&mut self, entry: Entry) {
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
