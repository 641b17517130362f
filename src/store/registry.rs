//! The registry of the verifiers of one process that share a nonce store. They agree on how long nonces are kept, and
//! since when.

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

/// The set of verifiers of one process that use the same [`NonceStore`](super::NonceStore). Clones share one registry.
///
/// A nonce is kept for as long as any of these verifiers could accept it. A verifier that joins later with a larger
/// tolerance does not apply that tolerance to timestamps whose nonces may have been removed already. A verifier that
/// joins later also accepts requests that were signed since the first verifier joined.
///
/// A store that can be shared, through an `Arc` or as a clone, contains a registry and returns it from
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
///     async fn claim(&self, claim: &NonceClaim<'_>, retention: Retention) -> Result<NonceStatus, StoreError> {
/// #       let _ = (&self.cache, claim, retention);
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
    /// The longest retention of all members, in seconds. It does not change when the last member leaves.
    retention: AtomicU64,
    /// The latest timestamp whose nonce was claimed.
    latest_claimed: AtomicU64,
    members: Mutex<Members>,
}

#[derive(Default)]
struct Members {
    /// The number of members for each retention.
    retentions: BTreeMap<u64, usize>,
    eras: Vec<Era>,
    started: Option<Started>,
}

/// A period in which nonces were kept for a shorter time. Nonces with timestamps up to `up_to` may have been kept for
/// `retention` seconds only.
///
/// The later of two eras has the longer retention.
#[derive(Clone, Copy)]
struct Era {
    up_to: u64,
    retention: u64,
}

/// The time since the first verifier joined: `age` at the first reading of the clock, plus the time since that reading.
struct Started {
    clock: Arc<dyn Clock>,
    at: Duration,
    age: Duration,
}

/// A verifier's registration, which ends when this is dropped.
pub(crate) struct Membership {
    registry: VerifierRegistry,
    tolerance: u64,
    retention: u64,
    /// The eras before it joined that limit its tolerance.
    eras: Box<[Era]>,
}

impl VerifierRegistry {
    /// Creates a registry without verifiers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a verifier. `retention` is how long it needs nonces to be kept, counted from their timestamp. Both
    /// values are in seconds.
    pub(crate) fn join(&self, tolerance: u64, retention: u64) -> Membership {
        let mut members = self.members();
        *members.retentions.entry(retention).or_default() += 1;
        let before = self.0.retention.load(SeqCst);
        // Publish the retention first: a claim that does not see it has then stored its timestamp already, and the era
        // below covers it.
        self.publish(&members);
        if retention > before {
            members.begin_era(self.0.latest_claimed.load(SeqCst), before);
        }
        let eras = members.eras.iter().filter(|era| era.retention < retention).copied().collect();
        Membership { registry: self.clone(), tolerance, retention, eras }
    }

    /// Returns how long ago the first verifier joined, in whole seconds. If none has joined, the verifier with this
    /// clock joins now.
    pub(crate) fn age(&self, clock: &Arc<dyn Clock>) -> Duration {
        let mut members = self.members();
        let started = members.started.get_or_insert_with(|| Started::new(clock, Duration::ZERO));
        Duration::from_secs(started.age().as_secs())
    }

    /// Replaces a verifier's clock. If the verifier was the first one, the new clock continues the age.
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

/// The time for which a verifier needs its nonces to be stored, counted from their timestamp, in seconds.
pub(crate) fn retention(tolerance: u64, configured: Option<Duration>, is_persistent: bool) -> u64 {
    let least = tolerance.saturating_add(1);
    match configured {
        Some(retention) => least.max(retention.as_secs()),
        // One minute more, because the clocks of the verifiers may differ.
        None if is_persistent => least.saturating_add(60),
        None => least,
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

    /// Returns for how many seconds after this timestamp its nonce is kept at least, regardless of when it was claimed.
    pub(crate) fn memory_of(&self, timestamp: u64) -> u64 {
        // The additional retention beyond the tolerance, for clocks that differ.
        let margin = self.retention.saturating_sub(self.tolerance);
        let eras = self.eras.iter().filter(|era| timestamp <= era.up_to);
        eras.map(|era| era.retention.saturating_sub(margin)).min().unwrap_or(u64::MAX)
    }

    /// Returns for how many seconds from its timestamp a nonce must be kept: the longest retention of all verifiers.
    /// Call this before claiming a nonce of this timestamp.
    pub(crate) fn retention_of(&self, timestamp: u64) -> u64 {
        let Registry { retention, latest_claimed, .. } = &*self.registry.0;
        if latest_claimed.load(SeqCst) < timestamp {
            latest_claimed.fetch_max(timestamp, SeqCst);
        }
        // Read the retention after storing the timestamp: either this reads the retention of a verifier that joins now,
        // or that verifier reads the timestamp.
        retention.load(SeqCst)
    }

    /// Returns the longest retention of all current verifiers, in seconds.
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
        // Nonces are now kept for only 61 seconds.
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
