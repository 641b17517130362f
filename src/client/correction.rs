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

/// The largest offset that is corrected, in seconds.
const MAX_OFFSET: u64 = 86_400;

/// A smaller change of the offset does not make a refused timestamp acceptable, in seconds.
const MIN_CHANGE: u64 = 5;

/// Corrects the clock of a client. Clones share the offset.
#[derive(Clone, Default)]
pub(super) struct ClockCorrection(Option<Arc<SharedOffset>>);

struct SharedOffset {
    /// The verifier's clock minus the client's, in seconds.
    offset: AtomicI64,
    /// Whether responses over plain HTTP count too.
    is_insecure: bool,
}

/// An offset that a refusal has changed, in seconds.
pub(super) struct OffsetUpdate(i64);

impl ClockCorrection {
    pub(super) fn new(is_insecure: bool) -> Self {
        Self(Some(Arc::new(SharedOffset { offset: AtomicI64::new(0), is_insecure })))
    }

    /// Whether the clock is corrected at all.
    pub(super) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The offset for a request, in seconds. One that was measured over TLS is not used without.
    pub(super) fn offset(&self, is_tls: bool) -> i64 {
        let shared = self.0.as_ref().filter(|shared| is_tls || shared.is_insecure);
        shared.map_or(0, |shared| shared.offset.load(Relaxed))
    }

    /// Stores the offset of a refused timestamp, which was signed with the offset `before`. `offset` is the verifier's
    /// clock minus the client's, in seconds.
    pub(super) fn update(&self, offset: i64, before: i64, is_tls: bool) -> Option<OffsetUpdate> {
        let shared = self.0.as_ref().filter(|shared| is_tls || shared.is_insecure)?;
        if offset.unsigned_abs() > MAX_OFFSET || offset.abs_diff(before) <= MIN_CHANGE {
            // The offset in use did not help, and there is no better one.
            shared.forget(before);
            return None;
        }
        shared.offset.store(offset, Relaxed);
        Some(OffsetUpdate(offset))
    }

    /// Forgets an offset that did not help.
    pub(super) fn revert(&self, update: &OffsetUpdate) {
        if let Some(shared) = &self.0 {
            shared.forget(update.0);
        }
    }
}

impl SharedOffset {
    /// Forgets this offset, unless another request has stored a newer one.
    fn forget(&self, offset: i64) {
        // Another value is newer, so it stays.
        let _ = self.offset.compare_exchange(offset, 0, Relaxed, Relaxed);
    }
}

impl OffsetUpdate {
    /// The new offset, in seconds.
    pub(super) fn offset(&self) -> i64 {
        self.0
    }
}

/// Returns the time of a clock with this offset.
pub(super) fn corrected(clock: &dyn Clock, offset: i64) -> Result<Timestamp, SignError> {
    corrected_at(clock.wall(), offset)
}

/// Returns the time of a clock that stands at `wall` and has this offset.
pub(super) fn corrected_at(wall: Duration, offset: i64) -> Result<Timestamp, SignError> {
    let by = Duration::from_secs(offset.unsigned_abs());
    timestamp(if offset < 0 { wall.saturating_sub(by) } else { wall.saturating_add(by) })
}

impl fmt::Debug for ClockCorrection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClockCorrection").field("is_on", &self.0.is_some()).field("offset", &self.offset(true)).finish()
    }
}
