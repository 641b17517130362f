//! What operators are told, and the one place where that depends on a feature.

/// The wall clock fell behind the verifier's by this many milliseconds.
pub(crate) fn clock_stepped_back(milliseconds: i64) {
    #[cfg(feature = "tracing")]
    tracing::warn!(
        milliseconds,
        "the wall clock stepped back; verifying goes on by the monotonic clock. If the new time is the right one, \
         restart this process"
    );
    #[cfg(not(feature = "tracing"))]
    let _ = milliseconds;
}
