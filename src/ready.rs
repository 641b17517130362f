//! Calling the service that is ready.

use std::mem;

/// Takes the service that was polled, and leaves a clone, which is polled before the next call.
///
/// Readiness is not cloned: the permit of a concurrency limit, for one, is held by the service that was polled. Calling
/// the clone would panic.
pub(crate) fn take_ready<S: Clone>(service: &mut S) -> S {
    let clone = service.clone();
    mem::replace(service, clone)
}
