//! The clocks of verifiers and signers, and a manual clock for tests.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// A source of wall-clock and monotonic time.
///
/// A verifier follows the wall clock. If the wall clock steps back, the verifier continues by the monotonic clock until
/// the wall clock has caught up. It undoes a short step ahead.
pub trait Clock: Send + Sync + 'static {
    /// Returns the time since 1970-01-01T00:00:00Z. It may jump in both directions.
    fn wall(&self) -> Duration;

    /// Returns the time since a fixed moment. It never goes backwards.
    fn monotonic(&self) -> Duration;
}

/// The operating system's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Creates a clock that reads the operating system's clocks.
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> Duration {
        // With a clock before 1970, verifiers reject every real request.
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A clock that tests set and advance. Clones share the time.
///
/// ```
/// # use countersign::clock::{Clock, ManualClock};
/// # use std::time::Duration;
/// let clock = ManualClock::at(1_700_000_000);
/// clock.advance(Duration::from_secs(5));
/// assert_eq!(clock.wall(), Duration::from_secs(1_700_000_005));
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock {
    milliseconds: Arc<Readings>,
}

#[derive(Debug)]
struct Readings {
    wall: AtomicU64,
    monotonic: AtomicU64,
}

impl ManualClock {
    /// Creates a clock whose wall time is this many Unix seconds.
    #[must_use]
    pub fn at(unix_seconds: u64) -> Self {
        let wall = AtomicU64::new(unix_seconds.saturating_mul(1000));
        Self { milliseconds: Arc::new(Readings { wall, monotonic: AtomicU64::new(0) }) }
    }

    /// Advances both readings, in whole milliseconds.
    pub fn advance(&self, by: Duration) {
        let by = milliseconds(by);
        self.milliseconds.wall.fetch_add(by, Ordering::SeqCst);
        self.milliseconds.monotonic.fetch_add(by, Ordering::SeqCst);
    }

    /// Sets the wall clock and leaves the monotonic clock unchanged.
    pub fn set_wall(&self, unix_seconds: u64) {
        self.milliseconds.wall.store(unix_seconds.saturating_mul(1000), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Duration {
        Duration::from_millis(self.milliseconds.wall.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.milliseconds.monotonic.load(Ordering::SeqCst))
    }
}

pub(crate) fn milliseconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1000).saturating_add(duration.subsec_millis().into())
}
