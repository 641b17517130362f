//! Renewal: a token and its successor.

use std::sync::Arc;

use super::{
    entry::{Entry, State},
    owned::{Full, Owned},
};
use crate::{
    protocol::token::TokenRef,
    store::token::record::{Offer, Renewed, TokenKind, Touched},
};

/// The most renewals of a session within one overlap.
const MAX_RENEWALS: usize = 4;

impl Owned {
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
        let state = State::Live { record: Arc::new(offer.record.clone()), predecessor: Some(*old.digest()) };
        self.insert(Entry::new(*offer.successor.digest(), order, state));
        Ok(Renewed::Kept { seed: offer.seed, record: offer.record.clone() })
    }

    pub(super) fn touch(&mut self, at: &TokenRef, now: u64, until: Option<u64>) -> Touched {
        let Some(i) = self.position(at.digest()) else { return Touched::Gone };
        let (record, predecessor) = match &mut *self.entries[i].state {
            State::Live { record, predecessor } if record.is_live(now) => (record, predecessor),
            State::Renewed { record, until, .. } if record.is_live(now) && now < *until => return Touched::Done,
            _ => return Touched::Gone,
        };
        if let (Some(idle), Some(until)) = (record.idle_until, until) {
            // A request may hold the earlier record.
            let record = Arc::make_mut(record);
            record.seen_at = record.seen_at.max(now);
            record.idle_until = Some(until.max(idle));
        }
        if let Some(predecessor) = predecessor.take() {
            self.start_overlap(&predecessor, now);
        }
        Touched::Done
    }

    /// The successor of this token is used, so the token ends after the overlap.
    fn start_overlap(&mut self, digest: &[u8; 32], now: u64) {
        let Some(i) = self.position(digest) else { return };
        if let State::Renewed { offer, until, .. } = &mut *self.entries[i].state {
            *until = (*until).min(now.saturating_add(offer.overlap));
            self.due = self.due.min(self.entries[i].kept_until());
        }
    }
}
