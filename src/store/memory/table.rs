//! One shard of the memory nonce store: a hash table whose entries expire.
//!
//! The table uses open addressing with linear probing over slots of 16 bytes. An expired entry stays in its slot, like
//! a tombstone, until a claim reuses the slot or the table is rebuilt.

use crate::store::holders::HolderId;

/// The identity of a nonce in the table: 70 bits of a keyed hash.
#[derive(Clone, Copy)]
pub(super) struct NonceTag {
    low: u64,
    high: u64,
}

impl NonceTag {
    pub(super) fn new(hash: u128) -> Self {
        Self { low: hash as u64, high: (hash >> 64) as u64 & TAG_MASK }
    }
}

/// The first second that a slot cannot hold, in the year 2514.
pub(super) const END_OF_TIME: u64 = 1 << (64 - HolderId::BITS - TAG_BITS);

const TAG_BITS: u32 = 6;
const TAG_MASK: u64 = (1 << TAG_BITS) - 1;
const HOLDER_MASK: u64 = (1 << HolderId::BITS) - 1;

/// A slot: 64 bits of tag, then 34 bits of expiry, 24 bits of holder and 6 more bits of tag. An expiry of 0 marks an
/// empty slot.
#[derive(Clone, Copy, Default)]
struct Slot {
    tag: u64,
    rest: u64,
}

impl Slot {
    const EMPTY: Self = Self { tag: 0, rest: 0 };

    fn new(tag: NonceTag, holder: HolderId, expiry: u64) -> Self {
        let rest = expiry << (HolderId::BITS + TAG_BITS) | u64::from(holder.bits()) << TAG_BITS | tag.high;
        Self { tag: tag.low, rest }
    }

    fn expiry(self) -> u64 {
        self.rest >> (HolderId::BITS + TAG_BITS)
    }

    fn holder(self) -> HolderId {
        HolderId::from_bits((self.rest >> TAG_BITS & HOLDER_MASK) as u32)
    }

    fn is_empty(self) -> bool {
        self.expiry() == 0
    }

    fn is_live(self, now: u64) -> bool {
        self.expiry() > now
    }

    fn is(self, tag: NonceTag) -> bool {
        self.tag == tag.low && self.rest & TAG_MASK == tag.high
    }
}

#[derive(Default)]
pub(super) struct Table {
    /// The slots. Their number is a power of two, or zero.
    slots: Box<[Slot]>,
    /// The number of slots that are not empty.
    used: usize,
    /// No entry expires before this second.
    earliest: u64,
}

/// The result of a lookup in the table.
pub(super) enum Found {
    /// The nonce has a live claim.
    Live,
    /// The nonce is not in the table. This slot is free for it.
    Free(usize),
    /// The nonce is not in the table, and the table must grow first.
    NoRoom,
}

impl Table {
    pub(super) fn find(&self, tag: NonceTag, now: u64) -> Found {
        let mut free = None;
        for i in self.probe(tag.low) {
            let slot = self.slots[i];
            if slot.is_empty() {
                // Keep at least one slot in eight empty, so that probes end.
                let room = free.is_some() || (self.used + 1) * 8 <= self.slots.len() * 7;
                return if room { Found::Free(free.unwrap_or(i)) } else { Found::NoRoom };
            }
            if slot.is_live(now) {
                if slot.is(tag) {
                    return Found::Live;
                }
            } else {
                free = free.or(Some(i));
            }
        }
        free.map_or(Found::NoRoom, Found::Free)
    }

    /// Writes an entry into the slot from [`find`](Table::find). `on_reclaimed` gets the holder of the expired nonce in
    /// that slot.
    pub(super) fn put(
        &mut self,
        at: usize,
        tag: NonceTag,
        holder: HolderId,
        expiry: u64,
        on_reclaimed: impl FnOnce(HolderId),
    ) {
        let old = std::mem::replace(&mut self.slots[at], Slot::new(tag, holder, expiry));
        if old.is_empty() {
            self.earliest = if self.used == 0 { expiry } else { self.earliest.min(expiry) };
            self.used += 1;
        } else {
            self.earliest = self.earliest.min(expiry);
            on_reclaimed(old.holder());
        }
    }

    /// Rebuilds the table with room for one more entry, without the expired ones.
    pub(super) fn grow(&mut self, now: u64, on_reclaimed: impl FnMut(HolderId)) {
        self.rebuild(now, 1, on_reclaimed);
    }

    /// Removes expired entries and frees memory that the other entries do not need. Returns the number of scanned
    /// slots, which is zero if no entry has expired.
    pub(super) fn sweep(&mut self, now: u64, on_reclaimed: impl FnMut(HolderId)) -> usize {
        if self.used == 0 || self.earliest > now {
            return 0;
        }
        let slots = self.slots.len();
        self.rebuild(now, 0, on_reclaimed);
        slots
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.slots)
    }

    fn rebuild(&mut self, now: u64, more: usize, mut on_reclaimed: impl FnMut(HolderId)) {
        let live = self.slots.iter().filter(|slot| slot.is_live(now)).count();
        let old = std::mem::take(self);
        if live + more > 0 {
            // Add a sixteenth to delay the next rebuild, then an eighth that stays empty.
            let wanted = (live + more) * 17 / 16 * 8 / 7 + 1;
            self.slots = vec![Slot::EMPTY; wanted.next_power_of_two()].into();
        }
        self.earliest = u64::MAX;
        for slot in old.slots.iter().filter(|slot| !slot.is_empty()) {
            if !slot.is_live(now) {
                on_reclaimed(slot.holder());
            } else if let Some(i) = self.probe(slot.tag).find(|&i| self.slots[i].is_empty()) {
                self.slots[i] = *slot;
                self.used += 1;
                self.earliest = self.earliest.min(slot.expiry());
            }
        }
    }

    /// Returns the slots that may contain a nonce, in probe order.
    fn probe(&self, tag_low: u64) -> impl Iterator<Item = usize> + use<> {
        let mask = self.slots.len().wrapping_sub(1);
        let start = tag_low as usize;
        (0..self.slots.len()).map(move |i| start.wrapping_add(i) & mask)
    }
}

#[cfg(test)]
#[allow(clippy::panic, reason = "that is how a test fails")]
mod tests {
    use super::*;

    /// Spreads keys over all slots, like the hashes of real claims.
    fn key(n: u64) -> NonceTag {
        NonceTag::new(u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    const HOLDER: HolderId = HolderId::from_bits(7);

    #[test]
    fn an_entry_takes_18_to_39_bytes() {
        let mut table = Table::default();
        for used in 1..5000 {
            let mut found = table.find(key(used), 0);
            if let Found::NoRoom = found {
                table.grow(0, |_| panic!("nothing expires"));
                found = table.find(key(used), 0);
            }
            let Found::Free(at) = found else { panic!("there is room after it has grown") };
            table.put(at, key(used), HOLDER, 1, |_| panic!("nothing expires"));
            // One slot in eight is empty, so that probes end.
            assert!(table.bytes() as u64 * 7 >= used * 16 * 8, "{} bytes for {used}", table.bytes());
            assert!(table.bytes() as u64 <= used.max(8) * 39, "{} bytes for {used}", table.bytes());
        }
        assert!((1..5000).all(|n| matches!(table.find(key(n), 0), Found::Live)));
        assert!(matches!(table.find(key(5000), 0), Found::Free(_)));
    }

    #[test]
    fn what_has_expired_is_given_back_with_its_memory() {
        let mut table = Table::default();
        for n in 0..100 {
            table.grow(0, |_| panic!("nothing expires"));
            let Found::Free(at) = table.find(key(n), 0) else { panic!("there is room after it has grown") };
            table.put(at, key(n), HOLDER, 1 + n / 50, |_| panic!("nothing expires"));
        }
        let mut given_back = 0;
        for (now, expected) in [(0, 0), (1, 50), (2, 100)] {
            table.sweep(now, |holder| given_back += usize::from(holder == HOLDER));
            assert_eq!(given_back, expected, "at {now}");
        }
        assert_eq!(table.bytes(), 0);
    }

    #[test]
    fn each_of_70_bits_of_a_hash_counts() {
        for bit in 0..128 {
            let mut table = Table::default();
            let (zero, other) = (NonceTag::new(0), NonceTag::new(1 << bit));
            table.grow(0, |_| panic!("nothing expires"));
            table.put(0, zero, HOLDER, 1, |_| panic!("nothing expires"));
            table.grow(0, |_| panic!("nothing expires"));
            assert!(matches!(table.find(zero, 0), Found::Live));
            assert_eq!(matches!(table.find(other, 0), Found::Live), bit >= 70, "{bit}");
        }
    }
}
