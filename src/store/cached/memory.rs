//! What is remembered of apps, and how long it may be used.

use std::time::Duration;

use moka::{policy::EvictionPolicy, sync::Cache};

use super::{
    epoch::{Epoch, Epochs},
    error::LookupError,
    options::Options,
};
use crate::{protocol::AppId, store::App};

/// An app whose look-up failed is looked up again after this long, and then after twice as long each time.
const BACKOFF: Duration = Duration::from_millis(100);

/// The longest pause between two look-ups that fail.
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// Apps that nobody asks for are forgotten an hour after their keys have become useless. Until then they pass for known
/// ones. Nothing else rests on the cache's own clock.
const IDLE_TTL: Duration = Duration::from_secs(3600);

/// Far beyond what anybody sets, and well below what the cache takes.
pub(super) const MAX_TTL: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Known apps in one cache and all others in another, so that made-up ids push no known app out.
pub(super) struct Memory {
    known: Cache<AppId, Known>,
    unknown: Cache<AppId, Unknown>,
    epochs: Epochs,
}

/// When a look-up began, from when on its answer may be outdated; or when it failed.
#[derive(Clone, Copy)]
pub(super) struct Start {
    /// By the monotonic clock.
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

/// An id that had no keys, or of which the store has not told yet.
#[derive(Clone)]
struct Unknown {
    start: Start,
    failure: Option<Failure>,
}

/// A look-up that failed, the last of its app.
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

    /// Whether the outage is likely to go on: where an app is asked for once a second, another look-up would have ended
    /// by now.
    pub(super) fn is_recent(&self, now: Duration, deadline: Duration) -> bool {
        now.saturating_sub(self.start.at) < self.backoff.saturating_add(deadline).saturating_add(MAX_BACKOFF)
    }
}

/// What memory can tell of an app.
pub(super) enum CacheLookup {
    /// An answer that needs no look-up.
    Fresh(Option<App>),
    /// A look-up is due.
    Due(Due),
}

pub(super) struct Due {
    pub(super) is_known: bool,
    /// Keys that may be used for want of an answer.
    pub(super) stale: Option<App>,
    /// Of the last look-up, if that failed.
    pub(super) failure: Option<Failure>,
}

impl Memory {
    pub(super) fn new(options: &Options) -> Self {
        let life = options.ttl.saturating_add(options.grace).saturating_add(IDLE_TTL).min(MAX_TTL);
        let known = Cache::builder().max_capacity(options.capacity as u64).time_to_live(life).build();
        // The last ones that were asked for, and not the most popular: each is to be remembered once.
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

    /// Takes an answer. One that is invalidated at this very moment may be taken too: it is never recalled.
    pub(super) fn insert(&self, app: &AppId, start: Start, answer: Option<App>) {
        if !self.epochs.is_current(start.epoch) {
            return;
        }
        match answer {
            Some(known) => self.known.insert(app.clone(), Known { app: known, start, failure: None }),
            None => {
                self.unknown.insert(app.clone(), Unknown { start, failure: None });
                // An answer, so nothing is left that an outage could bring back.
                self.known.invalidate(app);
            }
        }
    }

    /// Takes note of a look-up that failed.
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

    /// Who invalidates wants the store asked, though it has just failed.
    fn current(&self, failure: Option<Failure>) -> Option<Failure> {
        failure.filter(|failure| self.epochs.is_current(failure.start.epoch))
    }

    fn holds(&self, start: Start, now: Duration, life: Duration) -> bool {
        now.saturating_sub(start.at) < life && self.epochs.is_current(start.epoch)
    }
}
