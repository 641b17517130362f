//! Events for operators. Only this module depends on the feature `tracing`.

use std::panic::{AssertUnwindSafe, catch_unwind};

#[cfg(not(feature = "tracing"))]
pub(crate) use self::noop::*;
#[cfg(feature = "tracing")]
pub(crate) use self::tracing::*;

/// Calls code that may panic: a hook, a recorder, a subscriber. A panic does not affect the request. The process's
/// panic hook has reported it.
pub(crate) fn catch_panics<T>(tell: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(tell)).ok()
}

/// Calls a closure of the service. A panic in it does not affect the request. `name` is its label in metrics.
#[cfg(feature = "server")]
pub(crate) fn call_closure<T>(name: &'static str, call: impl FnOnce() -> T) -> Option<T> {
    let result = catch_panics(call);
    if result.is_none() {
        catch_panics(|| count_panic(name));
    }
    result
}

/// The names of the closures that a service may set.
#[cfg(feature = "metrics")]
pub(crate) const CLOSURES: [&str; 6] = ["bypass", "end_as", "observer", "renderer", "report", "scope"];

#[cfg(feature = "metrics")]
pub(crate) const CLOSURE_PANICS: &str = "countersign_closure_panics_total";

#[cfg(feature = "metrics")]
fn count_panic(closure: &'static str) {
    metrics::counter!(CLOSURE_PANICS, "closure" => closure).increment(1);
}

#[cfg(all(feature = "server", not(feature = "metrics")))]
fn count_panic(_: &'static str) {}

#[cfg(feature = "tracing")]
mod tracing {
    #[cfg(any(feature = "key-cache", feature = "key-file"))]
    use std::error::Error;

    #[cfg(feature = "client")]
    use ::tracing::info;
    use ::tracing::warn;
    #[cfg(feature = "server")]
    use ::tracing::{Level, event};

    #[cfg(feature = "server")]
    use crate::protocol::Rejection;

    /// Set explicitly, because the default is the path of this private module.
    pub(crate) const TARGET: &str = "countersign";

    /// Reports that a client learned by how many seconds its clock differs from the verifier's.
    #[cfg(feature = "client")]
    pub(crate) fn clock_corrected(seconds: i64) {
        info!(target: TARGET, seconds, "the verifier's clock differs from this one, so requests are signed with its time");
    }

    /// Reports the cause of an invalid signature. The lines themselves may hold private parameters, and the server has
    /// chosen which of them differ.
    #[cfg(feature = "client")]
    pub(crate) fn signature_explained(line: &str, cause: &str, advice: &str) {
        warn!(target: TARGET, line, cause, "a signature was refused: {advice}");
    }

    /// Reports that the wall clock fell behind the verifier's clock by this many milliseconds.
    #[cfg(feature = "server")]
    pub(crate) fn clock_stepped_back(milliseconds: i64) {
        warn!(
            target: TARGET,
            milliseconds,
            "the wall clock stepped back; verifying goes on by the monotonic clock. A wall clock that was ahead for less than \
             five minutes is followed again by itself; if it was ahead for longer, restart this process"
        );
    }

    /// Reports that the use of a session could not be recorded.
    #[cfg(feature = "tokens")]
    pub(crate) fn session_not_touched(error: &crate::store::StoreError) {
        warn!(target: TARGET, error = error as &dyn std::error::Error, "the token store fails; a session in use may end early");
    }

    /// Reports that a submission store fails. `call` is the verb of the store.
    #[cfg(feature = "submissions")]
    pub(crate) fn submission_store_failed(call: &str, error: &crate::store::StoreError) {
        warn!(target: TARGET, call, error = error as &dyn std::error::Error, "the submission store fails");
    }

    /// Reports that a submission lost its lease. It runs on, and its outcome counts as unknown.
    #[cfg(feature = "submissions")]
    pub(crate) fn submission_lost(reason: &str) {
        warn!(target: TARGET, "a submission was lost: {reason}");
    }

    /// Runs a future in the span of the caller.
    #[cfg(feature = "submissions")]
    pub(crate) fn in_current_span<F>(future: F) -> ::tracing::instrument::Instrumented<F> {
        ::tracing::Instrument::in_current_span(future)
    }

    /// Reports that a key store fails and expired keys are in use.
    #[cfg(feature = "key-cache")]
    pub(crate) fn serving_stale_keys(error: &(dyn Error + 'static)) {
        warn!(target: TARGET, error, "the key store fails; keys are used beyond their time");
    }

    /// Reports that the service is misconfigured.
    #[cfg(feature = "server")]
    pub(crate) fn misconfigured(rejection: &Rejection) {
        event!(target: TARGET, Level::ERROR, code = rejection.kind().code(), "{}", rejection.detail());
    }

    /// Reports that the keys of a file were loaded.
    #[cfg(feature = "key-file")]
    pub(crate) fn key_file_loaded(path: &std::path::Path, is_open_to_others: bool) {
        ::tracing::info!(target: TARGET, path = %path.display(), "keys were read");
        if is_open_to_others {
            warn!(target: TARGET, path = %path.display(), "every user of this machine may read or write this key file");
        }
    }

    /// Reports that a key file was rejected. The store keeps its current keys, including keys that the file has
    /// removed.
    #[cfg(feature = "key-file")]
    pub(crate) fn key_file_rejected(error: &crate::store::file::FileKeysError) {
        warn!(target: TARGET, error = error as &dyn Error, "keys could not be read; those that were read before stay");
    }
}

#[cfg(not(feature = "tracing"))]
mod noop {
    #[cfg(feature = "server")]
    use crate::protocol::Rejection;

    #[cfg(feature = "server")]
    pub(crate) fn clock_stepped_back(_: i64) {}

    #[cfg(feature = "client")]
    pub(crate) fn clock_corrected(_: i64) {}

    #[cfg(feature = "client")]
    pub(crate) fn signature_explained(_: &str, _: &str, _: &str) {}

    #[cfg(feature = "tokens")]
    pub(crate) fn session_not_touched(_: &crate::store::StoreError) {}

    #[cfg(feature = "submissions")]
    pub(crate) fn submission_store_failed(_: &str, _: &crate::store::StoreError) {}

    #[cfg(feature = "submissions")]
    pub(crate) fn submission_lost(_: &str) {}

    #[cfg(feature = "submissions")]
    pub(crate) fn in_current_span<F>(future: F) -> F {
        future
    }

    #[cfg(feature = "key-cache")]
    pub(crate) fn serving_stale_keys(_: &(dyn std::error::Error + 'static)) {}

    #[cfg(feature = "key-file")]
    pub(crate) fn key_file_loaded(_: &std::path::Path, _: bool) {}

    #[cfg(feature = "key-file")]
    pub(crate) fn key_file_rejected(_: &crate::store::file::FileKeysError) {}
    #[cfg(feature = "server")]
    pub(crate) fn misconfigured(_: &Rejection) {}
}
