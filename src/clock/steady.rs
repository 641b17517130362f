//! The clock that verifiers read: the wall's, except that it never goes backwards.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{Clock, milliseconds};
use crate::event;

/// A wall clock that steps back would bring nonces back to life which are forgotten already. While it has, the
/// monotonic clock goes on from where the wall was. Steps ahead are followed.
///
/// But for what a wall clock is slewed, a second at a time at most, it does not run slower than time passes. A store
/// that forgets after so many seconds of its own has to keep nonces longer than that: see `Window::retention`.
pub(crate) struct SteadyClock {
    clock: Arc<dyn Clock>,
    /// Readings of both clocks when this one was made, in milliseconds.
    born: (i64, i64),
    /// Milliseconds from the monotonic reading to the time of day, as of when the wall was last followed.
    offset: AtomicI64,
    /// The latest time of day that was told, in Unix seconds.
    told: AtomicU64,
    bridging: AtomicBool,
}

/// A reading of the clock, in Unix seconds, rounded down.
#[derive(Clone, Copy)]
pub(crate) struct Time {
    pub(crate) now: u64,
    /// When the clock was made. If the wall was slow then and has stepped ahead since, so has this moment.
    pub(crate) birth: u64,
}

/// How far, in milliseconds, the wall may fall behind and still be followed: slewing, drift and the two readings' being
/// taken one after the other are no steps. Meanwhile the time told stands still.
const SLACK: i64 = 1000;

/// How far, in milliseconds, two readings of two clocks may differ without anything having happened.
const JITTER: i64 = 50;

impl SteadyClock {
    pub(crate) fn new(clock: impl Clock) -> Self {
        let born = readings(&clock);
        let steady = Self {
            clock: Arc::new(clock),
            born,
            offset: AtomicI64::new(i64::MIN / 2),
            told: AtomicU64::new(0),
            bridging: AtomicBool::new(false),
        };
        steady.now();
        steady
    }

    /// The same clock, as of now: its birth is this moment, and it goes on from the time that was told.
    pub(crate) fn reborn(&self) -> Self {
        let (time, monotonic) = self.read_milliseconds();
        let told = self.tell(time);
        Self {
            clock: self.clock.clone(),
            born: (time.max(signed(told.saturating_mul(1000))), monotonic),
            offset: AtomicI64::new(self.offset.load(Relaxed)),
            told: AtomicU64::new(told),
            bridging: AtomicBool::new(self.bridging.load(Relaxed)),
        }
    }

    /// Unix seconds, rounded down.
    pub(crate) fn now(&self) -> u64 {
        self.read().now
    }

    /// For how long something took.
    pub(crate) fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    pub(crate) fn read(&self) -> Time {
        let (time, monotonic) = self.read_milliseconds();
        Time { now: self.tell(time), birth: self.birth(time, monotonic) }
    }

    /// The time of day, which may still be slewed back, and the monotonic reading that goes with it.
    fn read_milliseconds(&self) -> (i64, i64) {
        let (wall, monotonic) = readings(&*self.clock);
        let followed = self.offset.load(Relaxed);
        let behind = (monotonic + followed).saturating_sub(wall);
        if behind > SLACK {
            self.tell_of_step(behind);
            return (monotonic + followed, monotonic);
        }
        self.follow(wall - monotonic, followed);
        (wall, monotonic)
    }

    /// In seconds, and never earlier than what was told before.
    fn tell(&self, time: i64) -> u64 {
        let (told, now) = (self.told.load(Relaxed), seconds(time));
        if now > told { self.told.fetch_max(now, Relaxed).max(now) } else { told }
    }

    fn birth(&self, time: i64, monotonic: i64) -> u64 {
        let (born, born_monotonic) = self.born;
        let by_uptime = time - (monotonic - born_monotonic);
        seconds(if by_uptime - born > JITTER { by_uptime } else { born })
    }

    /// Writes only what changed noticeably: every request reads this, on every core.
    fn follow(&self, offset: i64, followed: i64) {
        if offset.abs_diff(followed) > JITTER.unsigned_abs() {
            self.offset.store(offset, Relaxed);
        }
        if self.bridging.load(Relaxed) {
            self.bridging.store(false, Relaxed);
        }
    }

    fn tell_of_step(&self, behind: i64) {
        if !self.bridging.swap(true, Relaxed) {
            event::catch_panics(|| event::clock_stepped_back(behind));
        }
    }
}

/// Milliseconds of the wall and of the monotonic clock. In this order: a pause between the two then looks like a step
/// back, which is bridged, and not like one ahead, which would stay.
fn readings(clock: &(impl Clock + ?Sized)) -> (i64, i64) {
    let wall = signed(milliseconds(clock.wall()));
    (wall, signed(milliseconds(clock.monotonic())))
}

fn seconds(milliseconds: i64) -> u64 {
    u64::try_from(milliseconds / 1000).unwrap_or(0)
}

fn signed(milliseconds: u64) -> i64 {
    // Half of the range, so that sums and differences of two readings stay within it.
    i64::try_from(milliseconds).unwrap_or(i64::MAX).min(i64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const NOON: u64 = 1_700_000_000;

    #[test]
    fn follows_the_wall_in_whole_seconds() {
        let wall = ManualClock::at(NOON);
        let clock = SteadyClock::new(wall.clone());
        wall.advance(Duration::from_millis(999));
        assert_eq!(clock.now(), NOON);
        wall.advance(Duration::from_millis(1));
        assert_eq!(clock.now(), NOON + 1);
    }

    #[test]
    fn follows_steps_ahead() {
        let wall = ManualClock::at(NOON);
        let clock = SteadyClock::new(wall.clone());
        wall.set_wall(NOON + 86_400);
        assert_eq!(clock.now(), NOON + 86_400);
    }

    #[test]
    fn bridges_a_step_back_until_the_wall_has_caught_up() {
        let wall = ManualClock::at(NOON);
        let clock = SteadyClock::new(wall.clone());
        wall.set_wall(NOON - 3600);
        assert_eq!(clock.now(), NOON);
        wall.advance(Duration::from_secs(100));
        assert_eq!(clock.now(), NOON + 100, "time passes at its own pace");
        wall.set_wall(NOON + 100);
        assert_eq!(clock.now(), NOON + 100);
        wall.advance(Duration::from_secs(7));
        assert_eq!(clock.now(), NOON + 107);
        wall.set_wall(NOON + 200);
        assert_eq!(clock.now(), NOON + 200, "the wall is followed again");
    }

    #[test]
    fn stands_still_while_the_wall_is_slewed_back() {
        let wall = ManualClock::at(NOON + 1);
        let clock = SteadyClock::new(wall.clone());
        wall.set_wall(NOON);
        assert_eq!(clock.now(), NOON + 1);
        wall.advance(Duration::from_secs(1));
        assert_eq!(clock.now(), NOON + 1);
        wall.advance(Duration::from_secs(1));
        assert_eq!(clock.now(), NOON + 2, "the wall was followed");
    }

    #[test]
    fn its_birth_moves_with_a_wall_that_was_slow() {
        let wall = ManualClock::at(NOON - 1000);
        let clock = SteadyClock::new(wall.clone());
        assert_eq!(clock.read().birth, NOON - 1000);
        wall.advance(Duration::from_secs(60));
        assert_eq!(clock.read().birth, NOON - 1000);
        wall.set_wall(NOON + 60);
        assert_eq!(clock.read().birth, NOON);
        wall.set_wall(0);
        assert_eq!(clock.read().birth, NOON);
    }

    #[test]
    fn follows_drift_without_going_backwards() {
        let wall = ManualClock::at(NOON);
        let clock = SteadyClock::new(wall.clone());
        let mut last = clock.now();
        // The wall loses half a second in every ten, as a badly slewed one might.
        for round in 1..=1000 {
            wall.advance(Duration::from_secs(10));
            wall.set_wall(NOON + round * 19 / 2);
            let now = clock.now();
            assert!(now >= last);
            assert!(now <= NOON + round * 19 / 2 + 1, "it stays with the wall");
            last = now;
        }
    }

    #[test]
    fn is_born_again_without_going_backwards() {
        let wall = ManualClock::at(NOON);
        let clock = SteadyClock::new(wall.clone());
        wall.advance(Duration::from_secs(10));
        wall.set_wall(NOON - 3600);
        let again = clock.reborn();
        assert_eq!((again.now(), again.read().birth), (NOON + 10, NOON + 10));
        wall.advance(Duration::from_secs(5));
        assert_eq!((again.now(), again.read().birth), (NOON + 15, NOON + 10));
    }

    #[test]
    fn has_its_birth_in_a_whole_second() {
        let wall = ManualClock::at(NOON);
        wall.advance(Duration::from_millis(999));
        let clock = SteadyClock::new(wall.clone());
        wall.advance(Duration::from_millis(1));
        assert_eq!(clock.read().birth, NOON);
    }

    #[test]
    fn is_closed_before_1970_and_far_beyond() {
        let wall = ManualClock::at(0);
        let clock = SteadyClock::new(wall.clone());
        assert_eq!(clock.now(), 0);
        wall.set_wall(u64::MAX);
        let far = clock.now();
        wall.set_wall(0);
        assert!(clock.now() >= far);
    }

    #[test]
    fn is_born_when_it_was_made_however_long_the_monotonic_clock_has_run() {
        let wall = ManualClock::at(NOON);
        wall.advance(Duration::from_secs(1000));
        let clock = SteadyClock::new(wall.clone());
        wall.advance(Duration::from_secs(100));
        assert_eq!(clock.read().birth, NOON + 1000);
        wall.set_wall(NOON + 86_400);
        assert_eq!(clock.read().birth, NOON + 86_300, "the wall was slow then");
    }

    #[test]
    fn is_born_no_earlier_where_the_wall_is_slewed_back() {
        let wall = ManualClock::at(NOON);
        let clock = SteadyClock::new(wall.clone());
        wall.advance(Duration::from_millis(900));
        wall.set_wall(NOON);
        assert_eq!((clock.read().now, clock.read().birth), (NOON, NOON));
    }
}
