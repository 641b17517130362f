//! A key store that caches the answers of another one.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    lookup::InFlightLookups,
    memory::{CacheLookup, Memory},
    options::Options,
    warning::OutageWarning,
};
use crate::{
    clock::{Clock, SystemClock},
    protocol::AppId,
    store::{App, KeyStore, StoreError},
};

/// Caches the answers of another key store, for example one that queries a database.
///
/// ```
/// # use countersign::{AppId, Secret, VerifyLayer, store::{CachedKeys, key_fn}};
/// # async fn secret_of(app: AppId) -> Result<Option<Secret>, std::io::Error> { Ok(None) }
/// let keys = CachedKeys::new(key_fn(secret_of)); let layer = VerifyLayer::new(keys.clone()); // clones share the cache
/// # let app: AppId = "demo".parse()?;
/// keys.invalidate(&app); // its keys have just been changed
/// # Ok::<(), countersign::FieldError>(())
/// ```
///
/// # Bound
///
/// A retired key or a disabled app **is rejected within the [TTL](Self::with_ttl)** (default: 60 s). The TTL counts
/// from the start of the lookup. It uses the monotonic clock, which ignores steps of the wall clock and stops while the
/// machine is suspended.
///
/// - While the store is unavailable, the bound is the TTL plus the [grace](Self::with_grace) (default: none).
/// - [`invalidate`](Self::invalidate) takes effect at once, in this process.
/// - An app that was requested before it existed is accepted within the [TTL of unknown apps](Self::with_unknown_ttl)
///   (default: 10 s).
///
/// # Lookups
///
/// Concurrent requests for one app share a lookup. The lookup runs in its own task, so it continues when a caller
/// disconnects. It ends by the [deadline](Self::with_deadline) (default: 250 ms). Then all waiting requests fail with a
/// 503. A panic in the store counts as a failure.
///
/// A failure is never cached as an answer. After a failure, the cache does not look the app up for 100 ms. Each further
/// failure doubles this pause, up to one second. During the pause, requests for the app get the same error at once.
///
/// # Unknown app ids
///
/// Unknown app ids are cached separately, so they never evict known apps. The cache holds the last
/// [10,000](Self::with_unknown_capacity) of them. While it is not full, each id reaches the store at most once in 10 s.
/// At most [8](Self::with_max_unknown_in_flight) lookups of unknown ids run at a time. About 1,000 more wait, up to the
/// deadline. Any further lookup fails at once.
///
/// Known apps do not wait in this queue. Each known app is looked up at once, with at most one lookup in flight per
/// app. Give the store more connections than the limit for unknown ids, so that a flood of unknown ids leaves
/// connections for known apps.
///
/// An app is known after the store has returned keys for it, and until about an hour after the last answer. Right after
/// a start, all apps are unknown. If that matters, look up the important apps before you serve requests.
///
/// Cached answers are faster than others. The response time therefore reveals to a caller whether an app was requested
/// recently. During an outage, the status reveals whether the app is known.
///
/// # Several processes
///
/// Each process has its own cache. When you change keys, call [`invalidate`](Self::invalidate) in every process, or
/// wait until the bound has passed.
///
/// The cache needs a tokio runtime with time enabled.
pub struct CachedKeys<K> {
    pub(super) store: Arc<K>,
    pub(super) memory: Arc<Memory>,
    pub(super) in_flight: Arc<InFlightLookups>,
    pub(super) warning: Arc<OutageWarning>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) options: Options,
}

impl<K: KeyStore> CachedKeys<K> {
    /// Caches the answers of this store.
    #[must_use]
    pub fn new(store: K) -> Self {
        let options = Options {
            ttl: Duration::from_secs(60),
            unknown_ttl: Duration::from_secs(10),
            grace: Duration::ZERO,
            deadline: Duration::from_millis(250),
            capacity: 10_000,
            unknown_capacity: 10_000,
            most_unknown_in_flight: 8,
        };
        Self::build(Arc::new(store), Arc::new(SystemClock::new()), options)
    }

    /// Builds a store with an empty cache.
    fn build(store: Arc<K>, clock: Arc<dyn Clock>, options: Options) -> Self {
        let memory = Arc::new(Memory::new(&options));
        let in_flight = Arc::new(InFlightLookups::new(options.most_unknown_in_flight));
        Self { store, memory, in_flight, warning: Arc::default(), clock, options }
    }

    fn with_options(self, options: Options) -> Self {
        Self::build(self.store, self.clock, options)
    }

    /// Sets how long cached keys are valid. Default: 60 seconds. With zero, every request reaches the store.
    #[must_use]
    pub fn with_ttl(self, ttl: Duration) -> Self {
        let options = Options { ttl, ..self.options };
        self.with_options(options)
    }

    /// Sets how long the cache rejects an unknown or disabled app before it asks the store again. Default: 10 seconds.
    #[must_use]
    pub fn with_unknown_ttl(self, unknown_ttl: Duration) -> Self {
        let options = Options { unknown_ttl, ..self.options };
        self.with_options(options)
    }

    /// Sets how much longer than the [TTL](Self::with_ttl) cached keys stay valid while the store fails or exceeds the
    /// deadline. Default: zero, which disables it.
    ///
    /// **A key that is retired during an outage stays valid until the outage or the grace ends.** The first requests
    /// for each app wait until a lookup has failed. Later requests get the cached keys at once, if requests for the app
    /// come at least once a second. Meanwhile one lookup at a time tests whether the store is back. If the store
    /// answers that the app is unknown or disabled, the grace ends for that app. With the feature `tracing`, an event
    /// once a minute reports the outage.
    #[must_use]
    pub fn with_grace(self, grace: Duration) -> Self {
        let options = Options { grace, ..self.options };
        self.with_options(options)
    }

    /// Sets the deadline of a lookup, including all waiting. Default: 250 ms.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        let options = Options { deadline, ..self.options };
        self.with_options(options)
    }

    /// Sets how many apps with keys are cached. Each takes about 600 bytes. If there are more apps, the cache keeps the
    /// most requested ones. Default: 10,000.
    #[must_use]
    pub fn with_capacity(self, apps: usize) -> Self {
        let options = Options { capacity: apps, ..self.options };
        self.with_options(options)
    }

    /// Sets how many ids without keys are cached. Each takes about 400 bytes. If there are more, the cache keeps the
    /// latest ones. Default: 10,000.
    #[must_use]
    pub fn with_unknown_capacity(self, ids: usize) -> Self {
        let options = Options { unknown_capacity: ids, ..self.options };
        self.with_options(options)
    }

    /// Sets how many lookups of unknown ids reach the store at a time. Use fewer than the store has connections.
    /// Default: 8. Minimum: 1.
    #[must_use]
    pub fn with_max_unknown_in_flight(self, look_ups: usize) -> Self {
        let options = Options { most_unknown_in_flight: look_ups, ..self.options };
        self.with_options(options)
    }

    /// Sets the clock that measures the age of cached answers. Only its monotonic time is used. Deadlines use tokio's
    /// clock. Default: [`SystemClock`].
    #[must_use]
    pub fn with_clock(self, clock: impl Clock) -> Self {
        Self::build(self.store, Arc::new(clock), self.options)
    }

    /// Returns the store whose answers are cached.
    #[must_use]
    pub fn store(&self) -> &K {
        &self.store
    }

    /// Removes an app from the cache. After this returns, no earlier lookup is used any more, neither one in flight nor
    /// a stale answer. The next request for the app reaches the store.
    ///
    /// Requests that have their keys already continue with them. The call may also remove a few other apps from the
    /// cache.
    pub fn invalidate(&self, app: &AppId) {
        self.memory.epochs().end(app);
    }

    /// Removes all apps from the cache, like [`invalidate`](Self::invalidate). The store then gets lookups of all
    /// requested apps at once.
    pub fn invalidate_all(&self) {
        self.memory.epochs().end_all();
    }
}

impl<K: KeyStore> KeyStore for CachedKeys<K> {
    async fn keys(&self, app: &AppId) -> Result<Option<App>, StoreError> {
        match self.memory.get(app, self.clock.monotonic(), &self.options) {
            CacheLookup::Fresh(answer) => Ok(answer),
            // Boxed, so that the future of a cache hit stays small.
            CacheLookup::Due(due) => Ok(Box::pin(self.look_up(app, due)).await?),
        }
    }
}

/// Clones share the cache.
impl<K> Clone for CachedKeys<K> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            memory: self.memory.clone(),
            in_flight: self.in_flight.clone(),
            warning: self.warning.clone(),
            clock: self.clock.clone(),
            options: self.options,
        }
    }
}

impl<K> fmt::Debug for CachedKeys<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedKeys").field("options", &self.options).finish_non_exhaustive()
    }
}
