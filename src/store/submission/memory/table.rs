//! The entries of a store in memory, and their order of expiry.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use super::{copy::bytes, share::AnswerBytes};
use crate::store::{
    holders::{HolderId, HolderKey},
    submission::entry::{Entry, EntryState, Fingerprint, Finish, StoredAnswer},
};

type Key = [u8; 32];

/// The entries, by the key of their place. All times are those of the store's clock.
pub(super) struct Table {
    entries: HashMap<Key, Held>,
    by_expiry: BTreeSet<(Duration, Key)>,
    answers: AnswerBytes,
}

/// An entry, with what only the store needs.
pub(super) struct Held {
    pub(super) fingerprint: Fingerprint,
    pub(super) lease: [u8; 16],
    pub(super) ttl: Duration,
    pub(super) state: State,
    pub(super) expires_at: Duration,
    pub(super) app: HolderKey,
    pub(super) holder: HolderId,
}

pub(super) enum State {
    /// It runs, or its lease has ended.
    Reserved {
        lease_end: Duration,
    },
    Unknown,
    Done(StoredAnswer),
}

impl Held {
    pub(super) fn is_running(&self, now: Duration) -> bool {
        matches!(self.state, State::Reserved { lease_end } if now < lease_end)
    }

    /// Whether the lease ended before the submission was finished.
    pub(super) fn is_lost(&self, now: Duration) -> bool {
        matches!(self.state, State::Reserved { lease_end } if now >= lease_end)
    }

    pub(super) fn is_unknown(&self, now: Duration) -> bool {
        matches!(self.state, State::Unknown) || self.is_lost(now)
    }

    pub(super) fn is_reserved_by(&self, lease: &[u8; 16]) -> bool {
        matches!(self.state, State::Reserved { .. }) && self.lease == *lease
    }

    pub(super) fn to_entry(&self, now: Duration) -> Entry {
        let state = match &self.state {
            State::Reserved { .. } if self.is_running(now) => EntryState::InFlight,
            State::Reserved { .. } | State::Unknown => EntryState::Unknown,
            State::Done(answer) => EntryState::Done(answer.clone()),
        };
        Entry::new(self.fingerprint, state, self.expires_at.saturating_sub(now))
    }

    fn bytes(&self) -> usize {
        match &self.state {
            State::Done(answer) => bytes(answer),
            _ => 0,
        }
    }
}

impl Table {
    /// Makes a table for answers of at most this many bytes together.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { entries: HashMap::new(), by_expiry: BTreeSet::new(), answers: AnswerBytes::new(max_bytes) }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.answers.total()
    }

    pub(super) fn get(&self, key: &Key, now: Duration) -> Option<&Held> {
        self.entries.get(key).filter(|held| now < held.expires_at)
    }

    /// Adds an entry at a place that has none.
    pub(super) fn insert(&mut self, key: Key, held: Held) {
        self.answers.take(held.app, held.bytes());
        self.by_expiry.insert((held.expires_at, key));
        self.entries.insert(key, held);
    }

    /// Removes an entry, also one that has expired. Returns its holder.
    pub(super) fn remove(&mut self, key: &Key) -> Option<HolderId> {
        let held = self.entries.remove(key)?;
        self.by_expiry.remove(&(held.expires_at, *key));
        self.answers.give_back(held.app, held.bytes());
        Some(held.holder)
    }

    /// Removes the entry that expired first, if it has expired. Returns its holder.
    pub(super) fn remove_expired(&mut self, now: Duration) -> Option<HolderId> {
        let (_, key) = self.by_expiry.first().copied().filter(|(expires_at, _)| *expires_at <= now)?;
        self.remove(&key)
    }

    /// Changes the state of an entry, which then expires at another time.
    pub(super) fn set(&mut self, key: &Key, state: State, expires_at: Duration) {
        if let Some(held) = self.entries.get_mut(key) {
            self.by_expiry.remove(&(held.expires_at, *key));
            self.by_expiry.insert((expires_at, *key));
            self.answers.give_back(held.app, held.bytes());
            (held.state, held.expires_at) = (state, expires_at);
            self.answers.take(held.app, held.bytes());
        }
    }

    /// Ends an entry. An answer for which the app has no room is kept without its headers and body. Returns the holder of a
    /// removed entry.
    pub(super) fn end(&mut self, key: &Key, end: Finish, now: Duration) -> Option<HolderId> {
        let Held { ttl, app, .. } = self.entries.get(key)?;
        let (expires_at, app) = (now.saturating_add(*ttl), *app);
        let state = match end {
            Finish::Release => return self.remove(key),
            Finish::Unknown => State::Unknown,
            Finish::Done(answer) if !self.answers.has_room(app, bytes(&answer)) => {
                State::Done(StoredAnswer::new(answer.status(), answer.location().cloned()))
            }
            Finish::Done(answer) => State::Done(answer),
        };
        self.set(key, state, expires_at);
        None
    }
}
