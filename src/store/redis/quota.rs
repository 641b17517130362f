//! Limits the live nonces of each app in Redis. Counts only the claims of this process.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::protocol::{AppId, Retention};

pub(super) struct Quota {
    most: usize,
    apps: Mutex<Apps>,
}

#[derive(Default)]
struct Apps {
    by_id: HashMap<AppId, Usage>,
    /// The number of apps at which apps without live nonces are removed.
    cleanup_at: usize,
}

#[derive(Default)]
struct Usage {
    live: usize,
    /// The number of nonces that expire in each second.
    ends: BTreeMap<u64, usize>,
}

impl Quota {
    pub(super) fn new(most: usize) -> Self {
        Self { most, apps: Mutex::default() }
    }

    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Counts a nonce. Returns `false` if the app has reached its quota.
    pub(super) fn take(&self, app: &AppId, retention: Retention) -> bool {
        let mut apps = self.apps();
        if !apps.by_id.contains_key(app) {
            apps.clean_up(retention.now());
        }
        let usage = apps.by_id.entry(app.clone()).or_default();
        usage.expire(retention.now());
        if usage.live >= self.most {
            return false;
        }
        usage.live += 1;
        *usage.ends.entry(retention.until()).or_default() += 1;
        true
    }

    /// Uncounts a nonce that was not claimed.
    pub(super) fn give_back(&self, app: &AppId, retention: Retention) {
        if let Some(usage) = self.apps().by_id.get_mut(app)
            && let Some(count) = usage.ends.get_mut(&retention.until()).filter(|count| **count > 0)
        {
            *count -= 1;
            usage.live -= 1;
        }
    }

    fn apps(&self) -> MutexGuard<'_, Apps> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Apps {
    /// Removes apps without live nonces. The next cleanup runs when the number of apps has doubled, so that a new app
    /// costs constant time on average.
    fn clean_up(&mut self, now: u64) {
        if self.by_id.len() >= self.cleanup_at {
            self.by_id.retain(|_, usage| {
                usage.expire(now);
                usage.live > 0
            });
            self.cleanup_at = (self.by_id.len() * 2).max(64);
        }
    }
}

impl Usage {
    fn expire(&mut self, now: u64) {
        while let Some(end) = self.ends.first_entry().filter(|end| *end.key() <= now) {
            self.live -= end.remove();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "that is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn apps_without_live_nonces_are_forgotten() {
        let quota = Quota::new(10);
        for n in 0..10_000_u64 {
            let app = AppId::parse(format!("app-{n}").as_bytes()).unwrap();
            assert!(quota.take(&app, Retention::new(n, n + 100)));
        }
        assert!(quota.apps().by_id.len() <= 400);
    }
}
