//! References to records in a store.

use std::fmt;

use sha2::{Digest, Sha256};

use super::{GrantToken, OwnerTag};
use crate::protocol::field::value::Token;

/// A kind of records in a token store. Records of different kinds are stored apart: no limit, end or list of one kind
/// includes records of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    /// The tokens of sessions.
    Session,
    /// The grants of share links.
    Grant,
}

/// A reference to a token or a grant in a store: the kind of record, the tag of its owner, and a SHA-256 of its text. A store
/// never gets the text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenRef {
    kind: RecordKind,
    owner: OwnerTag,
    digest: [u8; 32],
}

impl TokenRef {
    /// Reads the text of a token. Returns `None` if this crate cannot have issued it.
    #[must_use]
    pub fn of(token: &Token) -> Option<Self> {
        let digest = || Sha256::digest(token.expose()).into();
        OwnerTag::of_token(token).map(|owner| Self { kind: RecordKind::Session, owner, digest: digest() })
    }

    /// Makes the reference of a grant. Its digest is the SHA-256 of `CS1-GRANT`, LF and the grant's text, so it never equals
    /// that of a token.
    #[must_use]
    pub fn of_grant(grant: &GrantToken) -> Self {
        let digest = Sha256::new().chain_update("CS1-GRANT\n").chain_update(grant.expose()).finalize().into();
        Self { kind: RecordKind::Grant, owner: *grant.owner(), digest }
    }

    /// Makes a reference for the tests of stores.
    #[must_use]
    pub fn new(kind: RecordKind, owner: OwnerTag, digest: [u8; 32]) -> Self {
        Self { kind, owner, digest }
    }

    /// The kind of record.
    #[must_use]
    pub fn kind(&self) -> RecordKind {
        self.kind
    }

    /// The tag of the owner.
    #[must_use]
    pub fn owner(&self) -> &OwnerTag {
        &self.owner
    }

    /// The SHA-256, of the token's text or for a grant.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

impl fmt::Debug for TokenRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenRef(..)")
    }
}
