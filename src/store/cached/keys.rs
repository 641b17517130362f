//! A key store over another one: what it promises, and what can be set on it.

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

/// Remembers for a while what another key store has answered: for keys in a database, or anywhere else that is not this
/// process.
///
/// ```
/// # use countersign::{AppId, Secret, VerifyLayer, store::{CachedKeys, key_fn}};
/// # async fn secret_of(app: AppId) -> Result<Option<Secret>, std::io::Error> { Ok(None) }
/// let keys = CachedKeys::new(key_fn(secret_of));
/// let layer = VerifyLayer::new(keys.clone()); // clones share what they remember
/// # let app: AppId = "demo".parse()?;
/// keys.invalidate(&app); // its keys have just been changed
/// # Ok::<(), countersign::FieldError>(())
/// ```
///
/// # Bound
///
/// A key that is retired, and an app that is disabled, **fails within the [TTL](Self::with_ttl)** (60 s by default): the
/// time counts from when the look-up began, by the monotonic clock, which no step of the wall clock moves and which
/// stands still while the machine is suspended. During an outage of the store it fails within the TTL and the
/// [grace](Self::with_grace) (none by default). After [`invalidate`](Self::invalidate) it fails at once, in this process.
/// An app that was asked for before it existed is let in within the [TTL of unknown apps](Self::with_unknown_ttl) (10 s).
///
/// # Look-ups
///
/// An app is looked up once at a time; whoever else asks for it waits for the same answer. The look-up runs in a task of
/// its own, so that nobody loses it when a caller goes away, and ends by the [deadline](Self::with_deadline) (250 ms): then
/// all who wait get an error, and their requests a 503. A store that panics is one that failed.
///
/// No failure is taken for an answer, but after one the app is not looked up again for 100 ms, then for twice as long each
/// time, a second at most. Until then its requests get the same error at once.
///
/// # Made-up ids
///
/// Anybody can ask for an id that is nobody's. Such ids are remembered apart from known apps, the last
/// [10,000](Self::with_unknown_capacity) of them, so that they push out no app, and each reaches the store once in 10 s as
/// long as no more come. At most [8 at a time](Self::with_max_unknown_in_flight) are looked up, some 1,000 wait for that
/// until the deadline, and the others are errors at once.
///
/// Known apps do not queue with them: an app that has had keys is looked up right away, one look-up for each app. Let the
/// store have more connections than it looks up unknown ids at a time, and a flood leaves the others to them. Who is known
/// is learned from the store's answers, and forgotten about an hour after the last of them: right after a start, all apps
/// are strangers. Where that matters, ask for the important ones before serving.
///
/// What is remembered answers sooner. From the time that an answer takes, a caller can tell whether anybody has asked for
/// an app of late; and during an outage, from its status, whether that app is known.
///
/// # Several processes
///
/// Each has a memory of its own. What changes keys must tell all of them to [`invalidate`](Self::invalidate), or wait for
/// the bound to pass.
///
/// It needs a tokio runtime with its timer.
pub struct CachedKeys<K> {
    pub(super) store: Arc<K>,
    pub(super) memory: Arc<Memory>,
    pub(super) in_flight: Arc<InFlightLookups>,
    pub(super) warning: Arc<OutageWarning>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) options: Options,
}

impl<K: KeyStore> CachedKeys<K> {
    /// Remembers what this store answers.
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

    /// Whatever is set, it begins with nothing remembered.
    fn build(store: Arc<K>, clock: Arc<dyn Clock>, options: Options) -> Self {
        let memory = Arc::new(Memory::new(&options));
        let in_flight = Arc::new(InFlightLookups::new(options.most_unknown_in_flight));
        Self { store, memory, in_flight, warning: Arc::default(), clock, options }
    }

    fn with_options(self, options: Options) -> Self {
        Self::build(self.store, self.clock, options)
    }

    /// How long keys are used without asking the store again. Default: 60 seconds. Zero has every request ask.
    #[must_use]
    pub fn with_ttl(self, ttl: Duration) -> Self {
        let options = Options { ttl, ..self.options };
        self.with_options(options)
    }

    /// How long an app that the store does not know, or has disabled, is refused without asking it again. Default: 10
    /// seconds.
    #[must_use]
    pub fn with_unknown_ttl(self, unknown_ttl: Duration) -> Self {
        let options = Options { unknown_ttl, ..self.options };
        self.with_options(options)
    }

    /// For how much longer than the [TTL](Self::with_ttl) keys are used while the store fails or is slower than the
    /// deadline. Default: zero, not at all.
    ///
    /// **A key that is retired during an outage works until the end of it, or of the grace.** Of each app the first
    /// requests wait for the look-up that fails; the others get its old keys at once, while one look-up at a time finds
    /// out whether the store is back, as long as requests come once a second. That an app is unknown or disabled is an
    /// answer, and ends it. With the feature `tracing` there is an event, once a minute, while this goes on.
    #[must_use]
    pub fn with_grace(self, grace: Duration) -> Self {
        let options = Options { grace, ..self.options };
        self.with_options(options)
    }

    /// How long a look-up may take, all that it waits for together. Default: 250 ms.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        let options = Options { deadline, ..self.options };
        self.with_options(options)
    }

    /// How many apps with keys are remembered, some 600 bytes each. Of more, those that are asked for most. Default:
    /// 10,000.
    #[must_use]
    pub fn with_capacity(self, apps: usize) -> Self {
        let options = Options { capacity: apps, ..self.options };
        self.with_options(options)
    }

    /// How many ids without keys are remembered, some 400 bytes each. Of more, the last ones. Default: 10,000.
    #[must_use]
    pub fn with_unknown_capacity(self, ids: usize) -> Self {
        let options = Options { unknown_capacity: ids, ..self.options };
        self.with_options(options)
    }

    /// How many look-ups of ids that are not known reach the store at a time: fewer than it has connections. Default: 8,
    /// and never less than 1.
    #[must_use]
    pub fn with_max_unknown_in_flight(self, look_ups: usize) -> Self {
        let options = Options { most_unknown_in_flight: look_ups, ..self.options };
        self.with_options(options)
    }

    /// Reads time here, of which only the monotonic reading counts; deadlines are tokio's. Default: [`SystemClock`].
    #[must_use]
    pub fn with_clock(self, clock: impl Clock) -> Self {
        Self::build(self.store, Arc::new(clock), self.options)
    }

    /// The store that it asks.
    #[must_use]
    pub fn store(&self) -> &K {
        &self.store
    }

    /// Forgets what is known of an app. Once this has returned, nothing that was looked up before is an answer any more:
    /// not a look-up that was in flight, and not as a stale one. The next request for the app asks the store.
    ///
    /// Requests that have been given their keys already go on with them. A few other apps, of the same hash, are looked
    /// up again too.
    pub fn invalidate(&self, app: &AppId) {
        self.memory.epochs().end(app);
    }

    /// [`invalidate`](Self::invalidate), for all apps. The store is then asked for each that comes, all at once.
    pub fn invalidate_all(&self) {
        self.memory.epochs().end_all();
    }
}

impl<K: KeyStore> KeyStore for CachedKeys<K> {
    async fn keys(&self, app: &AppId) -> Result<Option<App>, StoreError> {
        match self.memory.get(app, self.clock.monotonic(), &self.options) {
            CacheLookup::Fresh(answer) => Ok(answer),
            // Boxed, so that those who need not wait carry nothing of it.
            CacheLookup::Due(due) => Ok(Box::pin(self.look_up(app, due)).await?),
        }
    }
}

/// Clones share what is remembered.
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
