//! Limits: the room for a new token among the tokens of its owner.

use std::sync::Arc;

use super::{
    entry::{Entry, State},
    owned::{Full, Owned},
};
use crate::{
    protocol::token::TokenRef,
    store::token::record::{EndReason, Placed, Record, Room, SessionId, SessionLimit, Which},
};

impl Owned {
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
        let state = State::Live { record: Arc::new(record.clone()), predecessor: None };
        self.insert(Entry::new(*at.digest(), order, state));
        Ok(Placed::Done { ended: replaced.len() })
    }
}
