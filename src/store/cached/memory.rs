//! The cached apps, and how long each may be used.

use std::time::Duration;

use moka::{policy::EvictionPolicy, sync::Cache};

use super::{
    epoch::{Epoch, Epochs},
    error::LookupError,
    options::Options,
};
use crate::{protocol::AppId, store::App};

/// The pause after a failed lookup of an app. It doubles with each further failure.
const BACKOFF: Duration = Duration::from_millis(100);

/// The maximum pause between two failed lookups.
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// Known apps are forgotten an hour after their keys have expired. Until then they count as known. Nothing else depends
/// on the cache's own clock.
const IDLE_TTL: Duration = Duration::from_secs(3600);

/// The maximum TTL: far above any useful setting, and well below the limit of the cache.
pub(super) const MAX_TTL: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The cache. Known apps and other ids have separate caches, so that unknown ids never evict known apps.
pub(super) struct Memory {
    known: Cache<AppId, Known>,
    unknown: Cache<AppId, Unknown>,
    epochs: Epochs,
}

/// The start of a lookup, from which its answer ages, or the time at which it failed.
#[derive(Clone, Copy)]
pub(super) struct Start {
    /// The reading of the monotonic clock.
    pub(super) at: Duration,
    pub(super) epoch: Epoch,
}

/// An app that had keys when the store last answered.
#[derive(Clone)]
struct Known {
    app: App,
    start: Start,
    failure: Option<Failure>,
}

/// An id that had no keys, or whose lookups have all failed.
#[derive(Clone)]
struct Unknown {
    start: Start,
    failure: Option<Failure>,
}

/// The last lookup of an app, if it failed.
#[derive(Clone)]
pub(super) struct Failure {
    start: Start,
    backoff: Duration,
    pub(super) error: LookupError,
}

impl Failure {
    pub(super) fn is_backing_off(&self, now: Duration) -> bool {
        now.saturating_sub(self.start.at) < self.backoff
    }

    /// Returns whether the outage probably continues. If an app is requested once a second, a later lookup would have
    /// ended by now.
    pub(super) fn is_recent(&self, now: Duration, deadline: Duration) -> bool {
        now.saturating_sub(self.start.at) < self.backoff.saturating_add(deadline).saturating_add(MAX_BACKOFF)
    }
}

/// The result of reading the cache.
pub(super) enum CacheLookup {
    /// An answer that needs no lookup.
    Fresh(Option<App>),
    /// A lookup is due.
    Due(Due),
}

pub(super) struct Due {
    pub(super) is_known: bool,
    /// Expired keys that are within the grace.
    pub(super) stale: Option<App>,
    /// The failure of the last lookup, if it failed.
    pub(super) failure: Option<Failure>,
}

impl Memory {
    pub(super) fn new(options: &Options) -> Self {
        let life = options.ttl.saturating_add(options.grace).saturating_add(IDLE_TTL).min(MAX_TTL);
        let known = Cache::builder().max_capacity(options.capacity as u64).time_to_live(life).build();
        // Keep the latest ids and not the most requested ones, because each id must be cached once.
        let unknown = Cache::builder()
            .max_capacity(options.unknown_capacity as u64)
            .time_to_live(options.unknown_ttl.saturating_add(MAX_BACKOFF).min(MAX_TTL))
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self { known, unknown, epochs: Epochs::new() }
    }

    pub(super) fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    pub(super) fn get(&self, app: &AppId, now: Duration, options: &Options) -> CacheLookup {
        let known = self.known.get(app);
        if let Some(known) = &known
            && self.holds(known.start, now, options.ttl)
        {
            return CacheLookup::Fresh(Some(known.app.clone()));
        }
        match (self.unknown.get(app), known) {
            (Some(Unknown { start, failure: None }), _) if self.holds(start, now, options.unknown_ttl) => {
                CacheLookup::Fresh(None)
            }
            (_, Some(Known { app, start, failure })) => {
                let is_usable = self.holds(start, now, options.ttl.saturating_add(options.grace));
                CacheLookup::Due(Due {
                    is_known: true,
                    stale: is_usable.then_some(app),
                    failure: self.current(failure),
                })
            }
            (unknown, None) => {
                let failure = unknown.and_then(|unknown| unknown.failure);
                CacheLookup::Due(Due { is_known: false, stale: None, failure: self.current(failure) })
            }
        }
    }

    /// Stores an answer. An answer that is invalidated at the same moment may be stored too, but it is never returned.
    pub(super) fn insert(&self, app: &AppId, start: Start, answer: Option<App>) {
        if !self.epochs.is_current(start.epoch) {
            return;
        }
        match answer {
            Some(known) => self.known.insert(app.clone(), Known { app: known, start, failure: None }),
            None => {
                self.unknown.insert(app.clone(), Unknown { start, failure: None });
                // This is an answer: remove the old keys, so that an outage cannot bring them back.
                self.known.invalidate(app);
            }
        }
    }

    /// Records a failed lookup.
    pub(super) fn insert_failure(&self, app: &AppId, start: Start, error: LookupError) {
        if !self.epochs.is_current(start.epoch) {
            return;
        }
        let after = |last: Option<Failure>| {
            let backoff = last.map_or(BACKOFF, |last| (last.backoff * 2).min(MAX_BACKOFF));
            Some(Failure { start, backoff, error })
        };
        match self.known.get(app) {
            Some(known) => {
                let failure = after(known.failure.clone());
                self.known.insert(app.clone(), Known { failure, ..known });
            }
            None => {
                let failure = after(self.unknown.get(app).and_then(|unknown| unknown.failure));
                self.unknown.insert(app.clone(), Unknown { start, failure });
            }
        }
    }

    /// Drops a failure from before an invalidation, because an invalidation asks for a new lookup.
    fn current(&self, failure: Option<Failure>) -> Option<Failure> {
        failure.filter(|failure| self.epochs.is_current(failure.start.epoch))
    }

    fn holds(&self, start: Start, now: Duration, life: Duration) -> bool {
        now.saturating_sub(start.at) < life && self.epochs.is_current(start.epoch)
    }
}
