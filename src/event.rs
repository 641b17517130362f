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

    /// A key store fails, and what it answered before is used beyond its time.
    #[cfg(feature = "moka")]
    pub(crate) fn stale_keys_are_used(error: &(dyn Error + 'static)) {
        warn!(target: TARGET, error, "the key store fails; keys are used beyond their time");
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

    /// The keys of a file are in force from now on.
    #[cfg(feature = "toml")]
    pub(crate) fn keys_taken(path: &std::path::Path, is_open_to_others: bool) {
        ::tracing::info!(target: TARGET, path = %path.display(), "keys were read");
        if is_open_to_others {
            warn!(target: TARGET, path = %path.display(), "every user of this machine may read or write this key file");
        }
    }

    /// The keys stay as they were, the retired ones too.
    #[cfg(feature = "toml")]
    pub(crate) fn keys_not_taken(error: &crate::store::file::FileKeysError) {
        warn!(target: TARGET, error = error as &dyn Error, "keys could not be read; those that were read before stay");
    }
}

#[cfg(not(feature = "tracing"))]
mod untold {
    use crate::protocol::Rejection;

    pub(crate) fn clock_stepped_back(_: i64) {}

    #[cfg(feature = "moka")]
    pub(crate) fn stale_keys_are_used(_: &(dyn std::error::Error + 'static)) {}

    pub(crate) fn rejected(_: &Rejection) {}

    #[cfg(feature = "toml")]
    pub(crate) fn keys_taken(_: &std::path::Path, _: bool) {}

    #[cfg(feature = "toml")]
    pub(crate) fn keys_not_taken(_: &crate::store::file::FileKeysError) {}
}
