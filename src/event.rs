//! What operators are told, and the one place where that depends on a feature.

use std::error::Error;

use crate::protocol::Rejection;
#[cfg(feature = "tracing")]
use crate::protocol::RejectionKind;

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

/// A request was refused for a fault that is not the caller's: a store failed, or the service is put together wrongly.
pub(crate) fn rejected(rejection: &Rejection) {
    #[cfg(feature = "tracing")]
    match rejection.kind() {
        RejectionKind::Unavailable => {
            tracing::warn!(code = rejection.kind().code(), error = rejection.source(), "refused")
        }
        RejectionKind::Misconfigured => tracing::error!(code = rejection.kind().code(), "{}", rejection.detail()),
        _ => {}
    }
    #[cfg(not(feature = "tracing"))]
    let _ = rejection;
}
