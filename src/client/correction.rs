//! The clock of a client, and its correction by the verifier's.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::signer::timestamp;
use crate::{
    clock::Clock,
    protocol::{SignError, Timestamp},
};

/// The largest offset that is learned, in seconds.
const MAX_OFFSET: u64 = 86_400;

/// Corrects the clock of a client. Clones share the offset.
#[derive(Clone, Default)]
pub(super) struct ClockCorrection(Option<Arc<Learned>>);

struct Learned {
    /// The verifier's clock minus the client's, in seconds.
    offset: AtomicI64,
    /// Whether to learn over plain HTTP too.
    is_insecure: bool,
}

/// An offset that was learned from a refusal, and the one that the refused request was signed with.
pub(super) struct Lesson {
    before: i64,
    after: i64,
}

impl ClockCorrection {
    pub(super) fn new(is_insecure: bool) -> Self {
        Self(Some(Arc::new(Learned { offset: AtomicI64::new(0), is_insecure })))
    }

    /// The offset that is in use, in seconds.
    pub(super) fn offset(&self) -> i64 {
        self.0.as_ref().map_or(0, |learned| learned.offset.load(Relaxed))
    }

    /// Learns the offset from a refused timestamp, which was signed with the offset `before`. `offset` is the verifier's
    /// clock minus the client's, in seconds.
    pub(super) fn learn(&self, offset: i64, before: i64, is_tls: bool) -> Option<Lesson> {
        let learned = self.0.as_ref().filter(|learned| is_tls || learned.is_insecure)?;
        if offset.unsigned_abs() > MAX_OFFSET || offset == before {
            return None;
        }
        learned.offset.store(offset, Relaxed);
        Some(Lesson { before, after: offset })
    }

    /// Takes a lesson back, unless another request has learned something else meanwhile.
    pub(super) fn unlearn(&self, lesson: &Lesson) {
        if let Some(learned) = &self.0 {
            // Another value is newer, so it stays.
            let _ = learned.offset.compare_exchange(lesson.after, lesson.before, Relaxed, Relaxed);
        }
    }
}

impl Lesson {
    /// The learned offset, in seconds.
    pub(super) fn offset(&self) -> i64 {
        self.after
    }
}

/// Returns the time of a clock with this offset.
pub(super) fn corrected(clock: &dyn Clock, offset: i64) -> Result<Timestamp, SignError> {
    let (wall, by) = (clock.wall(), Duration::from_secs(offset.unsigned_abs()));
    timestamp(if offset < 0 { wall.saturating_sub(by) } else { wall.saturating_add(by) })
}

impl fmt::Debug for ClockCorrection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClockCorrection").field("is_on", &self.0.is_some()).field("offset", &self.offset()).finish()
    }
}
