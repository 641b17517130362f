//! What is remembered of apps, and how long it may be used.

use std::time::Duration;

use moka::{policy::EvictionPolicy, sync::Cache};

use super::{
    error::LookUpError,
    generation::{Generation, Generations},
    keys::Options,
};
use crate::{protocol::AppId, store::App};

/// An app whose look-up failed is looked up again after this long, and then after twice as long each time.
const PAUSE: Duration = Duration::from_millis(100);

/// The longest pause between two look-ups that fail.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Apps that nobody asks for are forgotten an hour after their keys have become useless. Until then they pass for known
/// ones. Nothing else rests on the cache's own clock.
const OBLIVION: Duration = Duration::from_secs(3600);

/// Far beyond what anybody sets, and well below what the cache takes.
pub(super) const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Known apps in one cache and all others in another, so that made-up ids push no known app out.
pub(super) struct Memory {
    known: Cache<AppId, Known>,
    strangers: Cache<AppId, Stranger>,
    generations: Generations,
}

/// When a look-up began, from when on its answer may be outdated; or when it failed.
#[derive(Clone, Copy)]
pub(super) struct Start {
    /// By the monotonic clock.
    pub(super) at: Duration,
    pub(super) generation: Generation,
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
struct Stranger {
    start: Start,
    failure: Option<Failure>,
}

/// A look-up that failed, the last of its app.
#[derive(Clone)]
pub(super) struct Failure {
    start: Start,
    pause: Duration,
    pub(super) error: LookUpError,
}

impl Failure {
    pub(super) fn is_pausing(&self, now: Duration) -> bool {
        now.saturating_sub(self.start.at) < self.pause
    }

    /// Whether the outage is likely to go on: where an app is asked for once a second, another look-up would have ended
    /// by now.
    pub(super) fn is_recent(&self, now: Duration, deadline: Duration) -> bool {
        now.saturating_sub(self.start.at) < self.pause.saturating_add(deadline).saturating_add(LONGEST_PAUSE)
    }
}

/// What memory can tell of an app.
pub(super) enum Recalled {
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
        let life = options.ttl.saturating_add(options.grace).saturating_add(OBLIVION).min(FOREVER);
        let known = Cache::builder().max_capacity(options.capacity as u64).time_to_live(life).build();
        // The last ones that were asked for, and not the most popular: each is to be remembered once.
        let strangers = Cache::builder()
            .max_capacity(options.unknown_capacity as u64)
            .time_to_live(options.unknown_ttl.saturating_add(LONGEST_PAUSE).min(FOREVER))
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self { known, strangers, generations: Generations::new() }
    }

    pub(super) fn generations(&self) -> &Generations {
        &self.generations
    }

    pub(super) fn recall(&self, app: &AppId, now: Duration, options: &Options) -> Recalled {
        let known = self.known.get(app);
        if let Some(known) = &known
            && self.holds(known.start, now, options.ttl)
        {
            return Recalled::Fresh(Some(known.app.clone()));
        }
        match (self.strangers.get(app), known) {
            (Some(Stranger { start, failure: None }), _) if self.holds(start, now, options.unknown_ttl) => {
                Recalled::Fresh(None)
            }
            (_, Some(Known { app, start, failure })) => {
                let is_usable = self.holds(start, now, options.ttl.saturating_add(options.grace));
                Recalled::Due(Due { is_known: true, stale: is_usable.then_some(app), failure: self.current(failure) })
            }
            (stranger, None) => {
                let failure = stranger.and_then(|stranger| stranger.failure);
                Recalled::Due(Due { is_known: false, stale: None, failure: self.current(failure) })
            }
        }
    }

    /// Takes an answer. One that is invalidated at this very moment may be taken too: it is never recalled.
    pub(super) fn learn(&self, app: &AppId, start: Start, answer: Option<App>) {
        if !self.generations.is_current(start.generation) {
            return;
        }
        match answer {
            Some(known) => self.known.insert(app.clone(), Known { app: known, start, failure: None }),
            None => {
                self.strangers.insert(app.clone(), Stranger { start, failure: None });
                // An answer, so nothing is left that an outage could bring back.
                self.known.invalidate(app);
            }
        }
    }

    /// Takes note of a look-up that failed.
    pub(super) fn learn_failure(&self, app: &AppId, start: Start, error: LookUpError) {
        if !self.generations.is_current(start.generation) {
            return;
        }
        let after = |last: Option<Failure>| {
            let pause = last.map_or(PAUSE, |last| (last.pause * 2).min(LONGEST_PAUSE));
            Some(Failure { start, pause, error })
        };
        match self.known.get(app) {
            Some(known) => {
                let failure = after(known.failure.clone());
                self.known.insert(app.clone(), Known { failure, ..known });
            }
            None => {
                let failure = after(self.strangers.get(app).and_then(|stranger| stranger.failure));
                self.strangers.insert(app.clone(), Stranger { start, failure });
            }
        }
    }

    /// Who invalidates wants the store asked, though it has just failed.
    fn current(&self, failure: Option<Failure>) -> Option<Failure> {
        failure.filter(|failure| self.generations.is_current(failure.start.generation))
    }

    fn holds(&self, start: Start, now: Duration, life: Duration) -> bool {
        now.saturating_sub(start.at) < life && self.generations.is_current(start.generation)
    }
}
