//! A shard: a part of the owners, under one lock.

use std::{
    collections::{BTreeSet, HashMap},
    hash::{BuildHasherDefault, Hasher},
};

use super::owned::Owned;
use crate::protocol::token::OwnerTag;

#[derive(Default)]
pub(super) struct Shard {
    owners: HashMap<OwnerTag, Owned, BuildHasherDefault<TagHasher>>,
    /// The owners by the second when some of their tokens may be removed. A sweep reads nothing of the others.
    due: BTreeSet<(u64, OwnerTag)>,
}

/// Takes the hash from the tag itself. A tag is part of an HMAC with the owner key, so callers cannot choose the tags in a store.
#[derive(Default)]
pub(super) struct TagHasher(u64);

impl Hasher for TagHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    /// The length of a tag is always the same.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// By how much the number of entries has changed.
#[derive(Default)]
pub(super) struct Change {
    pub(super) added: usize,
    pub(super) removed: usize,
}

impl Shard {
    pub(super) fn get(&self, owner: &OwnerTag) -> Option<&Owned> {
        self.owners.get(owner)
    }

    /// Runs `act` on the tokens of an owner, after it has removed those whose end is long over.
    pub(super) fn change<T>(&mut self, owner: &OwnerTag, now: u64, act: impl FnOnce(&mut Owned) -> T) -> (T, Change) {
        let owned = self.owners.entry(*owner).or_insert_with(Owned::new);
        let (before, due_before) = (owned.len(), owned.due());
        owned.purge(now);
        let result = act(owned);
        let (after, due) = (owned.len(), owned.due());
        if due != due_before {
            self.due.remove(&(due_before, *owner));
            self.due.insert((due, *owner));
        }
        if after == 0 {
            self.due.remove(&(due, *owner));
            self.owners.remove(owner);
        }
        let change = Change { added: after.saturating_sub(before), removed: before.saturating_sub(after) };
        (result, change)
    }

    /// Removes tokens whose end is long over, of at most this many owners. Returns the number of tokens.
    pub(super) fn sweep(&mut self, now: u64, owners: usize) -> usize {
        let mut removed = 0;
        for _ in 0..owners {
            let Some((_, owner)) = self.due.first().copied().filter(|(due, _)| *due <= now) else { break };
            removed += self.change(&owner, now, |_| ()).1.removed;
        }
        if self.owners.len() < self.owners.capacity() / 8 {
            self.owners.shrink_to(self.owners.len() * 2);
        }
        removed
    }
}
