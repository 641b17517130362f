//! What the verifiers of one process that share a nonce store have to agree on: how long nonces are kept, and since when.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use crate::clock::Clock;

/// The verifiers of one process that use a [`NonceStore`](super::NonceStore). Clones are the same registry.
///
/// A nonce is kept for as long as any of these verifiers could accept it. A verifier that joins later with a larger tolerance does
/// not use that for timestamps of which a nonce may be forgotten already. And a verifier that joins later does not refuse
/// what was signed since the first one joined.
///
/// A store that can be shared, by `Arc` or as a clone, has one of these and returns it from
/// [`NonceStore::registry`](super::NonceStore::registry).
///
/// ```
/// use countersign::store::{Retention, NonceClaim, NonceStore, NonceStatus, StoreError, VerifierRegistry};
/// # struct Cache;
/// struct CacheNonces {
///     cache: Cache,
///     registry: VerifierRegistry,
/// }
///
/// impl NonceStore for CacheNonces {
///     async fn claim(&self, claim: &NonceClaim<'_>, lifetime: Retention) -> Result<NonceStatus, StoreError> {
/// #       let _ = (&self.cache, claim, lifetime);
/// #       Ok(NonceStatus::New)
/// #       /*
///         // …
/// #       */
///     }
///
///     fn registry(&self) -> Option<&VerifierRegistry> {
///         Some(&self.registry)
///     }
/// }
/// ```
#[derive(Clone, Default)]
pub struct VerifierRegistry(Arc<Registry>);

#[derive(Default)]
struct Registry {
    /// The longest of all members, in seconds. Where the last one has left, it stays as it was.
    retention: AtomicU64,
    /// The latest timestamp of which a nonce was claimed.
    latest_claimed: AtomicU64,
    members: Mutex<Members>,
}

#[derive(Default)]
struct Members {
    /// How many members have which retention.
    retentions: BTreeMap<u64, usize>,
    eras: Vec<Era>,
    started: Option<Started>,
}

/// Nonces with timestamps `up_to` this one may have been claimed when they were kept for no longer than `retention`.
///
/// Of two eras the one with the later timestamp has the longer retention.
#[derive(Clone, Copy)]
struct Era {
    up_to: u64,
    retention: u64,
}

/// For how long there have been verifiers: `age` when the clock was read first, and what has passed since.
struct Started {
    clock: Arc<dyn Clock>,
    at: Duration,
    age: Duration,
}

/// A verifier's place in the registry, until it is dropped.
pub(crate) struct Membership {
    registry: VerifierRegistry,
    tolerance: u64,
    retention: u64,
    /// Those before it joined that matter for its tolerance.
    eras: Box<[Era]>,
}

impl VerifierRegistry {
    /// A registry without verifiers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a verifier in. `retention` is how long it needs nonces to be kept from their timestamp on. Both are in seconds.
    pub(crate) fn join(&self, tolerance: u64, retention: u64) -> Membership {
        let mut members = self.members();
        *members.retentions.entry(retention).or_default() += 1;
        let before = self.0.retention.load(SeqCst);
        // First, so that a claim that does not know of this one has told of its timestamp already.
        self.publish(&members);
        if retention > before {
            members.begin_era(self.0.latest_claimed.load(SeqCst), before);
        }
        let eras = members.eras.iter().filter(|era| era.retention < retention).copied().collect();
        Membership { registry: self.clone(), tolerance, retention, eras }
    }

    /// How long ago the first verifier joined, in whole seconds. If none has, the one with this clock does now.
    pub(crate) fn age(&self, clock: &Arc<dyn Clock>) -> Duration {
        let mut members = self.members();
        let started = members.started.get_or_insert_with(|| Started::new(clock, Duration::ZERO));
        Duration::from_secs(started.age().as_secs())
    }

    /// A verifier replaces its clock. If it was the first one, the age goes on by the new clock.
    pub(crate) fn replace_clock(&self, old: &Arc<dyn Clock>, new: &Arc<dyn Clock>) {
        if let Some(started) = &mut self.members().started
            && Arc::ptr_eq(&started.clock, old)
        {
            *started = Started::new(new, started.age());
        }
    }

    fn leave(&self, retention: u64) {
        let mut members = self.members();
        if let Some(count) = members.retentions.get_mut(&retention) {
            *count -= 1;
            if *count == 0 {
                members.retentions.remove(&retention);
            }
        }
        self.publish(&members);
    }

    fn publish(&self, members: &Members) {
        if let Some((longest, _)) = members.retentions.last_key_value() {
            self.0.retention.store(*longest, SeqCst);
        }
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.0.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Members {
    fn begin_era(&mut self, latest_claimed: u64, retention: u64) {
        if latest_claimed > 0 {
            self.eras.retain(|era| era.retention < retention);
            self.eras.push(Era { up_to: latest_claimed, retention });
        }
    }
}

impl Started {
    fn new(clock: &Arc<dyn Clock>, age: Duration) -> Self {
        Self { clock: clock.clone(), at: clock.monotonic(), age }
    }

    fn age(&self) -> Duration {
        self.age.saturating_add(self.clock.monotonic().saturating_sub(self.at))
    }
}

impl Membership {
    pub(crate) fn registry(&self) -> &VerifierRegistry {
        &self.registry
    }

    /// How many seconds after this timestamp its nonce is remembered still, whenever it was claimed.
    pub(crate) fn memory_of(&self, timestamp: u64) -> u64 {
        // What it keeps nonces for beyond its own tolerance, for clocks that differ.
        let margin = self.retention.saturating_sub(self.tolerance);
        let eras = self.eras.iter().filter(|era| timestamp <= era.up_to);
        eras.map(|era| era.retention.saturating_sub(margin)).min().unwrap_or(u64::MAX)
    }

    /// How many seconds a nonce has to be kept from its timestamp on: the longest that any verifier needs. A nonce of this
    /// timestamp is about to be claimed.
    pub(crate) fn retention_of(&self, timestamp: u64) -> u64 {
        let Registry { retention, latest_claimed, .. } = &*self.registry.0;
        if latest_claimed.load(SeqCst) < timestamp {
            latest_claimed.fetch_max(timestamp, SeqCst);
        }
        // Afterwards, so that whoever joins either is heard here, or has heard of the timestamp.
        retention.load(SeqCst)
    }

    /// The longest retention of all verifiers at the moment, in seconds.
    pub(crate) fn retention(&self) -> u64 {
        self.registry.0.retention.load(SeqCst)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.registry.leave(self.retention);
    }
}

impl fmt::Debug for VerifierRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifierRegistry").field("retention", &self.0.retention).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_retention_counts_while_its_verifier_lives() {
        let registry = VerifierRegistry::new();
        let short = registry.join(60, 61);
        assert_eq!(short.retention_of(1), 61);
        let long = registry.join(300, 301);
        let longer = registry.join(600, 601);
        assert_eq!((short.retention_of(1), long.retention_of(1)), (601, 601));
        drop(longer);
        assert_eq!(short.retention_of(1), 301);
        drop(long);
        assert_eq!(short.retention_of(1), 61);
        drop(short);
        assert_eq!(registry.join(30, 31).retention_of(1), 31);
    }

    #[test]
    fn earlier_claims_are_remembered_as_long_as_they_were_kept() {
        let registry = VerifierRegistry::new();
        let a = registry.join(60, 61);
        assert_eq!(a.memory_of(1000), u64::MAX);
        a.retention_of(1000);
        let b = registry.join(120, 121);
        b.retention_of(2000);
        let c = registry.join(300, 301);
        assert_eq!([999, 1000, 1001].map(|timestamp| b.memory_of(timestamp)), [60, 60, u64::MAX]);
        assert_eq!([1000, 1001, 2000, 2001].map(|timestamp| c.memory_of(timestamp)), [60, 120, 120, u64::MAX]);
        assert_eq!(a.memory_of(1), u64::MAX);
        // For a while nonces are kept for 61 seconds only.
        drop((b, c));
        a.retention_of(3000);
        let d = registry.join(300, 301);
        assert_eq!([1000, 3000, 3001].map(|timestamp| d.memory_of(timestamp)), [60, 60, u64::MAX]);
    }

    #[test]
    fn claims_of_verifiers_that_have_left_count() {
        let registry = VerifierRegistry::new();
        registry.join(60, 61).retention_of(1000);
        let later = registry.join(300, 361);
        assert_eq!(
            [1000, 1001].map(|timestamp| later.memory_of(timestamp)),
            [0, u64::MAX],
            "its clocks differ by a minute"
        );
    }
}
