//! Helpers for tower services.

use std::mem;

/// Takes the service that was polled for readiness, and leaves a clone. The clone is polled before the next call.
///
/// A clone is not ready. For example, only the polled service holds the permit of a concurrency limit, and a call on
/// the clone would panic.
pub(crate) fn take_ready<S: Clone>(service: &mut S) -> S {
    let clone = service.clone();
    mem::replace(service, clone)
}

/// Defines accessors for a `Name<S, ..>` whose field `inner` is an `S`.
macro_rules! inner_accessors {
    () => {
        /// Returns a reference to the inner service.
        #[must_use]
        pub fn get_ref(&self) -> &S {
            &self.inner
        }

        /// Returns a mutable reference to the inner service.
        pub fn get_mut(&mut self) -> &mut S {
            &mut self.inner
        }

        /// Returns the inner service.
        #[must_use]
        pub fn into_inner(self) -> S {
            self.inner
        }
    };
}
pub(crate) use inner_accessors;
