//! Time: where verifiers read it, and a clock for tests that stands still until it is moved.

mod non_decreasing;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

pub(crate) use self::non_decreasing::{NonDecreasingClock, Time};

/// Two readings of time.
///
/// Verifiers follow the wall clock, but never backwards: while it has stepped back, the monotonic one bridges the gap.
pub trait Clock: Send + Sync + 'static {
    /// The time since 1970-01-01T00:00:00Z. May jump either way.
    fn wall(&self) -> Duration;

    /// The time since some fixed moment. Never goes backwards.
    fn monotonic(&self) -> Duration;
}

/// The operating system's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Reads the operating system's clocks.
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
        // A clock before 1970 accepts nothing that a client would send: it fails closed.
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A clock that tests move by hand. Clones are the same clock.
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
    /// A clock whose wall reads this many Unix seconds.
    #[must_use]
    pub fn at(unix_seconds: u64) -> Self {
        let wall = AtomicU64::new(unix_seconds.saturating_mul(1000));
        Self { milliseconds: Arc::new(Readings { wall, monotonic: AtomicU64::new(0) }) }
    }

    /// Lets time pass, in whole milliseconds.
    pub fn advance(&self, by: Duration) {
        let by = milliseconds(by);
        self.milliseconds.wall.fetch_add(by, Ordering::SeqCst);
        self.milliseconds.monotonic.fetch_add(by, Ordering::SeqCst);
    }

    /// Sets the wall clock, as an operator does: no time passes.
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
