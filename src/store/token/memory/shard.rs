//! A shard: a part of the owners, under one lock.

use std::collections::{BTreeSet, HashMap};

use super::owned::Owned;
use crate::protocol::token::OwnerTag;

#[derive(Default)]
pub(super) struct Shard {
    owners: HashMap<OwnerTag, Owned>,
    /// The owners by the second when some of their tokens may be removed. A sweep reads nothing of the others.
    due: BTreeSet<(u64, OwnerTag)>,
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
