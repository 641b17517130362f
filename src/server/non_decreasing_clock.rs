//! The clock that verifiers read. It has one time for checking timestamps and one for forgetting nonces.

use std::{
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicI64, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::Duration,
};

use crate::{
    clock::{Clock, milliseconds},
    event,
};

/// Follows the wall clock, and never makes a forgotten nonce acceptable again.
///
/// The clock keeps two times, V and F. Timestamps are checked against V. Nonces are forgotten as of F, which never
/// decreases. V is never less than F.
///
/// - Usually both equal the wall clock.
/// - When the wall clock steps ahead, V follows at once. F continues by the monotonic clock, and follows after the wall
///   clock has stayed there for [`PROBATION`].
/// - If the wall clock comes back before that, V goes back to it, because no nonce was forgotten due to the step.
/// - While the wall clock is behind F, both continue by the monotonic clock until the wall clock has caught up.
///
/// A nonce with the timestamp `t` is forgotten when F has reached `t` + tolerance + 1. From then on V, which is never
/// less than F, is greater than `t` + tolerance, so `t` is expired in every check. So no nonce is accepted a second
/// time, however the wall clock moves.
///
/// A store that expires nonces by its own clock does not wait for F. This is safe while F runs at least as fast as real
/// time. F is slower if the machine was suspended: the monotonic clock stopped, and the wall clock steps ahead on
/// resume. So with such a store V goes back only after the wall clock has been behind V for the longest lifetime of a
/// nonce, by the monotonic clock. By then F, and V with it, has passed the window of every request that was accepted
/// before the step.
///
/// `Window::retention` covers slewing of the wall clock, which is at most one second at a time.
pub(super) struct NonDecreasingClock {
    clock: Arc<dyn Clock>,
    /// The readings of both clocks at the start of this one, in milliseconds.
    start: (i64, i64),
    /// The milliseconds from the monotonic reading to F when F last followed the wall clock.
    offset: AtomicI64,
    /// The latest F that was read, in Unix seconds.
    latest: AtomicU64,
    is_bridging: AtomicBool,
    step: Step,
    /// The milliseconds from the monotonic reading to V when V last followed the wall clock.
    verify_offset: AtomicI64,
    /// The monotonic time in milliseconds since which the wall clock is behind V, or [`NONE`].
    behind_since: AtomicI64,
}

/// A step of the wall clock ahead of F.
struct Step {
    /// The monotonic reading when the step was first seen, in milliseconds.
    since: AtomicI64,
    /// The milliseconds from that reading to the wall clock, or [`NONE`]. Written after `since`.
    offset: AtomicI64,
}

/// A reading of the clock, in Unix seconds, rounded down.
#[derive(Clone, Copy)]
pub(super) struct Time {
    /// V, against which timestamps are checked.
    pub(super) now: u64,
    /// F. Stores may forget nonces that expire at or before it. At most `now`.
    pub(super) forget: u64,
    /// The start of the clock. If the wall clock was slow then and has stepped ahead since, this moment has stepped
    /// ahead too.
    pub(super) nonces_since: u64,
    /// The reading of the monotonic clock, in milliseconds.
    monotonic: i64,
}

impl Time {
    /// Returns the time since an earlier reading. Uses the wall clock too, because the monotonic clock stops while a
    /// machine is suspended.
    pub(super) fn since(&self, earlier: &Self) -> Duration {
        let by_wall = Duration::from_secs(self.now.saturating_sub(earlier.now));
        // The difference of two rounded values may be up to one second too large.
        let by_wall = by_wall.saturating_sub(Duration::from_secs(1));
        let passed = u64::try_from(self.monotonic.saturating_sub(earlier.monotonic)).unwrap_or(0);
        by_wall.max(Duration::from_millis(passed))
    }
}

/// The maximum difference, in milliseconds, that counts as slewing, drift or the delay between the two readings, and
/// not as a step. While the wall clock is behind by less, the returned time stands still.
const MAX_SLEW: i64 = 1000;

/// The normal variation, in milliseconds, between two readings of two clocks.
const JITTER: i64 = 50;

/// The time, in milliseconds, in which a step ahead may be undone. Meanwhile a memory store keeps more nonces. One that
/// is sized for twice the tolerance is usually half full and has room for them.
const PROBATION: i64 = 300_000;

impl NonDecreasingClock {
    /// Creates a clock that was started `age` ago.
    pub(super) fn new(clock: Arc<dyn Clock>, age: Duration) -> Self {
        let start = readings(&*clock);
        let steady = Self {
            clock,
            start: earlier(start, age),
            offset: AtomicI64::new(start.0 - start.1),
            latest: AtomicU64::new(0),
            is_bridging: AtomicBool::new(false),
            step: Step::none(),
            verify_offset: AtomicI64::new(start.0 - start.1),
            behind_since: AtomicI64::new(NONE),
        };
        steady.read(Duration::ZERO);
        steady
    }

    /// Returns the same clock, started `age` ago. It continues from the F that was read. A step of the wall clock
    /// starts its probation again.
    pub(super) fn restarted(&self, age: Duration) -> Self {
        let Reading { forget, monotonic, .. } = self.read_milliseconds();
        let latest = self.not_decreasing(seconds(forget));
        Self {
            clock: self.clock.clone(),
            start: earlier((forget.max(signed(latest.saturating_mul(1000))), monotonic), age),
            offset: AtomicI64::new(self.offset.load(Relaxed)),
            latest: AtomicU64::new(latest),
            is_bridging: AtomicBool::new(self.is_bridging.load(Relaxed)),
            step: Step::none(),
            verify_offset: AtomicI64::new(self.verify_offset.load(Relaxed)),
            behind_since: AtomicI64::new(NONE),
        }
    }

    /// Returns the underlying clock.
    pub(super) fn source(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Returns the monotonic time, for measuring durations.
    pub(super) fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Reads the clock. V goes back only after the wall clock has been behind it for `hold`: the longest lifetime of a
    /// nonce in a store that expires nonces by its own clock, or zero.
    pub(super) fn read(&self, hold: Duration) -> Time {
        let reading = self.read_milliseconds();
        let forget = self.not_decreasing(seconds(reading.forget));
        let verify = self.verify(&reading, signed(milliseconds(hold)));
        let now = forget.max(seconds(verify));
        let monotonic = reading.monotonic;
        Time { now, forget, nonces_since: self.nonces_since(verify, monotonic), monotonic }
    }

    fn read_milliseconds(&self) -> Reading {
        let (wall, monotonic) = readings(&*self.clock);
        let followed = self.offset.load(Relaxed);
        let continued = monotonic + followed;
        let ahead = wall.saturating_sub(continued);
        if ahead < -MAX_SLEW {
            self.step.end();
            return Reading { wall, forget: continued, monotonic };
        }
        if ahead > MAX_SLEW && !self.step.has_lasted(wall, monotonic) {
            return Reading { wall, forget: continued, monotonic };
        }
        self.step.end();
        follow(&self.offset, wall - monotonic, followed);
        Reading { wall, forget: wall, monotonic }
    }

    fn verify(&self, &Reading { wall, forget, monotonic }: &Reading, hold: i64) -> i64 {
        let followed = self.verify_offset.load(Relaxed);
        let continued = monotonic + followed;
        let behind = continued.saturating_sub(wall);
        if behind <= MAX_SLEW {
            self.end_bridging();
            follow(&self.verify_offset, wall - monotonic, followed);
            return wall;
        }
        self.report_step_back(behind);
        let since = match self.behind_since.load(Relaxed) {
            NONE => monotonic,
            since => since,
        };
        if monotonic.saturating_sub(since) < hold {
            self.behind_since.store(since, Relaxed);
            return continued;
        }
        let time = wall.max(forget);
        follow(&self.verify_offset, time - monotonic, followed);
        time
    }

    fn not_decreasing(&self, now: u64) -> u64 {
        let latest = self.latest.load(Relaxed);
        if now > latest { self.latest.fetch_max(now, Relaxed).max(now) } else { latest }
    }

    fn nonces_since(&self, verify: i64, monotonic: i64) -> u64 {
        let (start, start_monotonic) = self.start;
        let by_uptime = verify - (monotonic - start_monotonic);
        seconds(if by_uptime - start > JITTER { by_uptime } else { start })
    }

    fn end_bridging(&self) {
        if self.is_bridging.load(Relaxed) {
            self.is_bridging.store(false, Relaxed);
            self.behind_since.store(NONE, Relaxed);
        }
    }

    fn report_step_back(&self, behind: i64) {
        if !self.is_bridging.swap(true, Relaxed) {
            event::catch_panics(|| event::clock_stepped_back(behind));
        }
    }
}

/// A reading in milliseconds.
struct Reading {
    wall: i64,
    /// F, which may still decrease due to slewing.
    forget: i64,
    monotonic: i64,
}

/// Writes an offset only if it has changed by more than jitter, because every core reads it for every request. A late
/// reader does not overwrite the change of another one.
fn follow(to: &AtomicI64, offset: i64, followed: i64) {
    if offset.abs_diff(followed) > JITTER.unsigned_abs() {
        let _ = to.compare_exchange(followed, offset, Relaxed, Relaxed);
    }
}

const NONE: i64 = i64::MIN;

impl Step {
    fn none() -> Self {
        Self { since: AtomicI64::new(0), offset: AtomicI64::new(NONE) }
    }

    /// Returns whether the step has lasted for the probation. If the wall clock moves by more than [`MAX_SLEW`], the
    /// probation starts again.
    fn has_lasted(&self, wall: i64, monotonic: i64) -> bool {
        let offset = wall - monotonic;
        let earlier = self.offset.load(Acquire);
        if earlier != NONE && earlier.abs_diff(offset) <= MAX_SLEW.unsigned_abs() {
            return monotonic.saturating_sub(self.since.load(Relaxed)) >= PROBATION;
        }
        self.since.store(monotonic, Relaxed);
        self.offset.store(offset, Release);
        false
    }

    fn end(&self) {
        if self.offset.load(Relaxed) != NONE {
            self.offset.store(NONE, Relaxed);
        }
    }
}

fn earlier((wall, monotonic): (i64, i64), by: Duration) -> (i64, i64) {
    let by = signed(milliseconds(by));
    (wall.saturating_sub(by), monotonic.saturating_sub(by))
}

/// Reads the wall clock and then the monotonic clock, in milliseconds. In this order a pause between the two looks like
/// a step back, which is bridged. In the other order it would look like a step ahead, which would stay.
fn readings(clock: &(impl Clock + ?Sized)) -> (i64, i64) {
    let wall = signed(milliseconds(clock.wall()));
    (wall, signed(milliseconds(clock.monotonic())))
}

fn seconds(milliseconds: i64) -> u64 {
    u64::try_from(milliseconds / 1000).unwrap_or(0)
}

fn signed(milliseconds: u64) -> i64 {
    // Limit to half of the range, so that sums and differences of two readings do not overflow.
    i64::try_from(milliseconds).unwrap_or(i64::MAX).min(i64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const NOON: u64 = 1_700_000_000;

    fn steady(wall: &ManualClock) -> NonDecreasingClock {
        NonDecreasingClock::new(Arc::new(wall.clone()), Duration::ZERO)
    }

    #[test]
    fn follows_the_wall_in_whole_seconds() {
        let wall = ManualClock::at(NOON);
        let clock = steady(&wall);
        wall.advance(Duration::from_millis(999));
        assert_eq!(clock.read(Duration::ZERO).now, NOON);
        wall.advance(Duration::from_millis(1));
        assert_eq!(clock.read(Duration::ZERO).now, NOON + 1);
    }

    #[test]
    fn follows_steps_ahead() {
        let wall = ManualClock::at(NOON);
        let clock = steady(&wall);
        wall.set_wall(NOON + 86_400);
        assert_eq!(clock.read(Duration::ZERO).now, NOON + 86_400);
    }

    #[test]
    fn bridges_a_step_back_until_the_wall_has_caught_up() {
        let wall = ManualClock::at(NOON);
        let clock = steady(&wall);
        wall.set_wall(NOON - 3600);
        assert_eq!(clock.read(Duration::ZERO).now, NOON);
        wall.advance(Duration::from_secs(100));
        assert_eq!(clock.read(Duration::ZERO).now, NOON + 100, "time passes at its own pace");
        wall.set_wall(NOON + 100);
        assert_eq!(clock.read(Duration::ZERO).now, NOON + 100);
        wall.advance(Duration::from_secs(7));
        assert_eq!(clock.read(Duration::ZERO).now, NOON + 107);
        wall.set_wall(NOON + 200);
        assert_eq!(clock.read(Duration::ZERO).now, NOON + 200, "the wall is followed again");
    }

    #[test]
    fn stands_still_while_the_wall_is_slewed_back() {
        let wall = ManualClock::at(NOON + 1);
        let clock = steady(&wall);
        wall.set_wall(NOON);
        assert_eq!(clock.read(Duration::ZERO).now, NOON + 1);
        wall.advance(Duration::from_secs(1));
        assert_eq!(clock.read(Duration::ZERO).now, NOON + 1);
        wall.advance(Duration::from_secs(1));
        assert_eq!(clock.read(Duration::ZERO).now, NOON + 2, "the wall was followed");
    }

    #[test]
    fn its_start_moves_with_a_wall_that_was_slow() {
        let wall = ManualClock::at(NOON - 1000);
        let clock = steady(&wall);
        assert_eq!(clock.read(Duration::ZERO).nonces_since, NOON - 1000);
        wall.advance(Duration::from_secs(60));
        assert_eq!(clock.read(Duration::ZERO).nonces_since, NOON - 1000);
        wall.set_wall(NOON + 60);
        assert_eq!(clock.read(Duration::ZERO).nonces_since, NOON);
        wall.advance(Duration::from_secs(300));
        assert_eq!(clock.read(Duration::ZERO).nonces_since, NOON);
        wall.set_wall(0);
        assert_eq!(clock.read(Duration::ZERO).nonces_since, NOON);
    }

    #[test]
    fn follows_drift_without_going_backwards() {
        let wall = ManualClock::at(NOON);
        let clock = steady(&wall);
        let mut last = clock.read(Duration::ZERO).now;
        // The wall clock loses half a second in every ten, like one that is slewed badly.
        for round in 1..=1000 {
            wall.advance(Duration::from_secs(10));
            wall.set_wall(NOON + round * 19 / 2);
            let now = clock.read(Duration::ZERO).now;
            assert!(now >= last);
            assert!(now <= NOON + round * 19 / 2 + 1, "it stays with the wall");
            last = now;
        }
    }

    #[test]
    fn restarts_without_going_backwards() {
        let wall = ManualClock::at(NOON);
        let clock = steady(&wall);
        wall.advance(Duration::from_secs(10));
        wall.set_wall(NOON - 3600);
        let again = clock.restarted(Duration::ZERO);
        assert_eq!((again.read(Duration::ZERO).now, again.read(Duration::ZERO).nonces_since), (NOON + 10, NOON + 10));
        wall.advance(Duration::from_secs(5));
        assert_eq!((again.read(Duration::ZERO).now, again.read(Duration::ZERO).nonces_since), (NOON + 15, NOON + 10));
    }

    #[test]
    fn starts_in_a_whole_second() {
        let wall = ManualClock::at(NOON);
        wall.advance(Duration::from_millis(999));
        let clock = steady(&wall);
        wall.advance(Duration::from_millis(1));
        assert_eq!(clock.read(Duration::ZERO).nonces_since, NOON);
    }

    #[test]
    fn is_closed_before_1970_and_far_beyond() {
        let wall = ManualClock::at(0);
        let clock = steady(&wall);
        assert_eq!(clock.read(Duration::ZERO).now, 0);
        for far in [u64::MAX, 1 << 40] {
            wall.set_wall(far);
            assert!(clock.read(Duration::ZERO).now > NOON);
            wall.set_wall(0);
            assert!(clock.read(Duration::ZERO).now < NOON);
        }
        wall.set_wall(1 << 40);
        clock.read(Duration::ZERO);
        wall.advance(Duration::from_secs(300));
        let far = clock.read(Duration::ZERO).now;
        wall.set_wall(0);
        assert!(clock.read(Duration::ZERO).now >= far, "it was followed");
    }

    #[test]
    fn starts_when_it_was_made_whatever_the_monotonic_clock_reads() {
        let wall = ManualClock::at(NOON);
        wall.advance(Duration::from_secs(1000));
        let clock = steady(&wall);
        wall.advance(Duration::from_secs(100));
        assert_eq!(clock.read(Duration::ZERO).nonces_since, NOON + 1000);
        wall.set_wall(NOON + 86_400);
        assert_eq!(clock.read(Duration::ZERO).nonces_since, NOON + 86_300, "the wall was slow then");
    }

    #[test]
    fn starts_no_earlier_where_the_wall_is_slewed_back() {
        let wall = ManualClock::at(NOON);
        let clock = steady(&wall);
        wall.advance(Duration::from_millis(900));
        wall.set_wall(NOON);
        assert_eq!((clock.read(Duration::ZERO).now, clock.read(Duration::ZERO).nonces_since), (NOON, NOON));
    }

    fn times(clock: &NonDecreasingClock) -> (u64, u64) {
        let Time { now, forget, .. } = clock.read(Duration::ZERO);
        (now - NOON, forget - NOON)
    }

    #[test]
    fn a_short_step_ahead_leaves_no_trace() {
        let wall = ManualClock::at(NOON);
        let clock = steady(&wall);
        for glitch in [1, 60, 299] {
            let before = clock.read(Duration::ZERO).now - NOON;
            wall.set_wall(NOON + before + 3600);
            assert_eq!(times(&clock), (before + 3600, before));
            wall.advance(Duration::from_secs(glitch));
            assert_eq!(times(&clock), (before + 3600 + glitch, before + glitch));
            wall.set_wall(NOON + before + glitch);
            assert_eq!(times(&clock), (before + glitch, before + glitch), "after {glitch} s");
        }
    }

    #[test]
    fn a_step_ahead_that_stays_is_followed_by_both_times() {
        let wall = ManualClock::at(NOON);
        let clock = steady(&wall);
        wall.set_wall(NOON + 3600);
        assert_eq!(times(&clock), (3600, 0));
        wall.advance(Duration::from_millis(299_999));
        assert_eq!(times(&clock), (3899, 299));
        wall.advance(Duration::from_millis(1));
        assert_eq!(times(&clock), (3900, 3900));
        wall.set_wall(NOON);
        assert_eq!(times(&clock), (3900, 3900), "a step back is bridged");
    }

    #[test]
    fn another_step_ahead_begins_the_probation_anew() {
        let wall = ManualClock::at(NOON);
        let clock = steady(&wall);
        for step in 1..10 {
            wall.set_wall(NOON + step * 3600);
            assert_eq!(clock.read(Duration::ZERO).now, NOON + step * 3600);
            wall.advance(Duration::from_secs(200));
            assert_eq!(clock.read(Duration::ZERO).forget, NOON + step * 200);
        }
        wall.advance(Duration::from_secs(100));
        assert_eq!(times(&clock), (9 * 3600 + 300, 9 * 3600 + 300));
    }

    #[test]
    fn drift_during_the_probation_is_no_step() {
        let wall = ManualClock::at(NOON);
        let clock = steady(&wall);
        wall.set_wall(NOON + 3600);
        clock.read(Duration::ZERO);
        // The wall clock advances 100 seconds while the monotonic clock advances 99.
        for round in 1..=4 {
            wall.advance(Duration::from_secs(99));
            wall.set_wall(NOON + 3600 + round * 99 + u64::from(round > 2));
            clock.read(Duration::ZERO);
        }
        assert_eq!(times(&clock), (3600 + 397, 3600 + 397));
    }

    #[test]
    fn a_start_during_a_step_is_right_after_it() {
        let wall = ManualClock::at(NOON);
        let clock = steady(&wall);
        wall.advance(Duration::from_secs(10));
        wall.set_wall(NOON + 3610);
        let again = clock.restarted(Duration::ZERO);
        assert_eq!(again.read(Duration::ZERO).nonces_since, NOON + 3610);
        wall.set_wall(NOON + 10);
        assert_eq!((again.read(Duration::ZERO).now, again.read(Duration::ZERO).nonces_since), (NOON + 10, NOON + 10));
    }

    /// The store expires nonces by its own clock, and has forgotten all of them while the machine was suspended.
    #[test]
    fn with_a_hold_a_step_ahead_is_undone_late() {
        const HOLD: Duration = Duration::from_secs(661);
        let wall = ManualClock::at(NOON);
        let clock = steady(&wall);
        wall.set_wall(NOON + 3600);
        assert_eq!(clock.read(HOLD).now, NOON + 3600);
        wall.set_wall(NOON);
        for second in [0, 300, 660] {
            while wall.monotonic().as_secs() < second {
                wall.advance(Duration::from_secs(10));
            }
            let Time { now, forget, .. } = clock.read(HOLD);
            assert_eq!((now, forget), (NOON + 3600 + second, NOON + second));
        }
        wall.advance(Duration::from_secs(1));
        let Time { now, forget, .. } = clock.read(HOLD);
        assert_eq!((now, forget), (NOON + 661, NOON + 661));
    }

    #[test]
    fn a_wall_that_catches_up_begins_the_hold_anew() {
        const HOLD: Duration = Duration::from_secs(100);
        let wall = ManualClock::at(NOON);
        let clock = steady(&wall);
        for round in 0..3 {
            let now = NOON + round * 99;
            wall.set_wall(now + 3600);
            assert_eq!(clock.read(HOLD).now, now + 3600);
            wall.set_wall(now);
            assert_eq!(clock.read(HOLD).now, now + 3600);
            wall.advance(Duration::from_secs(99));
            assert_eq!(clock.read(HOLD).now, now + 3699);
        }
        wall.advance(Duration::from_secs(1));
        assert_eq!(clock.read(HOLD).now, NOON + 298);
    }
}
