//! The places of commands on their way to Redis.

#[cfg(feature = "submissions")]
use crate::store::SubmissionRef;
use crate::store::{
    NonceClaim, OwnerTag,
    holders::{HolderId, Holders},
};

/// The places of nonces, of tokens and of submissions. Each kind has its own, so that a flood of one kind leaves the places
/// of the others.
pub(super) struct Places {
    nonces: Holders,
    tokens: Holders,
    #[cfg(feature = "submissions")]
    submissions: Holders,
}

/// The payer of a place: an app, or a user within it, for a nonce or a submission; the owner for a token.
#[derive(Clone, Copy)]
pub(super) enum Payer<'a> {
    Nonce(&'a NonceClaim<'a>),
    #[cfg_attr(not(feature = "tokens"), expect(dead_code, reason = "there are no commands of tokens"))]
    Token(&'a OwnerTag),
    #[cfg(feature = "submissions")]
    Submission(&'a SubmissionRef),
}

/// A place that is taken. It must be given back.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Nonce(HolderId),
    Token(HolderId),
    #[cfg(feature = "submissions")]
    Submission(HolderId),
}

impl Places {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            nonces: Holders::new(capacity),
            tokens: Holders::new(capacity),
            #[cfg(feature = "submissions")]
            submissions: Holders::new(capacity),
        }
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
                self.nonces.reserve(account).map(Place::Nonce)
            }
            Payer::Token(owner) => self.tokens.reserve(self.tokens.account_of(owner)).map(Place::Token),
            #[cfg(feature = "submissions")]
            Payer::Submission(at) => {
                let account = self.submissions.key_of(at.app_id()).with_owner(at.owner());
                self.submissions.reserve(account).map(Place::Submission)
            }
        }
    }

    pub(super) fn release(&self, place: Place) {
        match place {
            Place::Nonce(id) => self.nonces.release(id),
            Place::Token(id) => self.tokens.release(id),
            #[cfg(feature = "submissions")]
            Place::Submission(id) => self.submissions.release(id),
        }
    }
}
