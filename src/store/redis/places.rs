//! The places of commands on their way to Redis.

use crate::store::{
    NonceClaim, OwnerTag,
    holders::{HolderId, Holders},
};

/// The places of nonces and those of tokens. Each kind has its own, so that a flood of one kind leaves the places of the
/// other.
pub(super) struct Places {
    nonces: Holders,
    tokens: Holders,
}

/// Who pays for a place: an app, or a user within it, for a nonce; the owner for a token.
#[derive(Clone, Copy)]
pub(super) enum Payer<'a> {
    Nonce(&'a NonceClaim<'a>),
    #[cfg_attr(not(feature = "tokens"), expect(dead_code, reason = "there are no commands of tokens"))]
    Token(&'a OwnerTag),
}

/// A place that is taken. It must be given back.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    OfNonce(HolderId),
    OfToken(HolderId),
}

impl Places {
    pub(super) fn new(capacity: usize) -> Self {
        Self { nonces: Holders::new(capacity), tokens: Holders::new(capacity) }
    }

    /// The number of places of each kind.
    pub(super) fn capacity(&self) -> usize {
        self.nonces.capacity()
    }

    /// Takes a place. Returns `None` if the payer has its share of them.
    pub(super) fn reserve(&self, payer: Payer<'_>) -> Option<Place> {
        match payer {
            Payer::Nonce(claim) => {
                let account = self.nonces.key_of(claim.app_id()).with_owner(claim.owner());
                self.nonces.reserve(account).map(Place::OfNonce)
            }
            Payer::Token(owner) => self.tokens.reserve(self.tokens.account_of(owner)).map(Place::OfToken),
        }
    }

    pub(super) fn release(&self, place: Place) {
        match place {
            Place::OfNonce(id) => self.nonces.release(id),
            Place::OfToken(id) => self.tokens.release(id),
        }
    }
}
