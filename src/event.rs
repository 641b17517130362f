//! What operators are told, and the one place where that depends on a feature.

#[cfg(feature = "tracing")]
pub(crate) use self::tracing::*;
#[cfg(not(feature = "tracing"))]
pub(crate) use self::untold::*;

#[cfg(feature = "tracing")]
mod tracing {
    use std::error::Error;

    use ::tracing::{error, warn};

    use crate::protocol::{Rejection, RejectionKind};

    /// The path of a private module would be, otherwise.
    const TARGET: &str = "countersign";

    /// The wall clock fell behind the verifier's by this many milliseconds.
    pub(crate) fn clock_stepped_back(milliseconds: i64) {
        warn!(
            target: TARGET,
            milliseconds,
            "the wall clock stepped back; verifying goes on by the monotonic clock. If the new time is the right one, \
             restart this process"
        );
    }

    /// A request was refused for a fault that is not its caller's.
    pub(crate) fn rejected(rejection: &Rejection) {
        let code = rejection.kind().code();
        match rejection.kind() {
            RejectionKind::Unavailable => {
                warn!(target: TARGET, code, error = rejection.source(), "a store failed");
            }
            RejectionKind::Misconfigured => error!(target: TARGET, code, "{}", rejection.detail()),
            _ => {}
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod untold {
    use crate::protocol::Rejection;

    pub(crate) fn clock_stepped_back(_: i64) {}

    pub(crate) fn rejected(_: &Rejection) {}
}
