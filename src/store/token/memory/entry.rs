//! One token in the memory of an owner.

use std::sync::Arc;

use crate::{
    protocol::AppId,
    store::token::record::{EndReason, Offer, Record, SessionId},
};

/// How long an entry is kept after its end, in seconds.
const KEPT: u64 = 60;

/// A token. The state is boxed, so that a search through many entries reads little memory.
pub(super) struct Entry {
    pub(super) digest: [u8; 32],
    /// The place among the tokens of the owner, in the order in which they were put. A successor has the place of its
    /// predecessor.
    pub(super) order: u64,
    pub(super) state: Box<State>,
}

pub(super) enum State {
    /// The token was neither renewed nor ended.
    Live {
        record: Arc<Record>,
        /// The token that this one succeeds, until this one is used.
        predecessor: Option<[u8; 32]>,
    },
    /// The token was renewed. It is live until its overlap is over.
    Renewed { record: Arc<Record>, offer: Box<Offer>, until: u64 },
    /// The token was ended, and its reason is remembered.
    Ended { app_id: AppId, reason: EndReason, until: u64 },
}

impl Entry {
    pub(super) fn new(digest: [u8; 32], order: u64, state: State) -> Self {
        Self { digest, order, state: Box::new(state) }
    }

    /// The record, if the token is live and was not renewed.
    pub(super) fn live(&self, now: u64) -> Option<&Record> {
        match &*self.state {
            State::Live { record, .. } if record.is_live(now) => Some(record),
            _ => None,
        }
    }

    /// The record of a token that was not ended, whether it is live or not.
    pub(super) fn record(&self) -> Option<&Record> {
        match &*self.state {
            State::Live { record, .. } | State::Renewed { record, .. } => Some(record),
            State::Ended { .. } => None,
        }
    }

    /// Whether this is a token of the session that has a successor.
    pub(super) fn is_renewal_of(&self, id: SessionId) -> bool {
        matches!(&*self.state, State::Renewed { record, .. } if record.id == id)
    }

    /// When the store may remove the entry.
    pub(super) fn kept_until(&self) -> u64 {
        self.state.end().saturating_add(KEPT)
    }
}

impl State {
    /// The end of the token. For an ended token, the end of the time for which its reason is remembered.
    pub(super) fn end(&self) -> u64 {
        match self {
            Self::Live { record, .. } => record.end(),
            Self::Renewed { record, until, .. } => record.end().min(*until),
            Self::Ended { until, .. } => *until,
        }
    }
}
