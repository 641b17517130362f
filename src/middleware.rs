//! What the services of this crate have in common with other tower middleware.

use std::mem;

/// Takes the service that was polled, and leaves a clone, which is polled before the next call.
///
/// Readiness is not cloned: the permit of a concurrency limit, for one, is held by the service that was polled. Calling
/// the clone would panic.
pub(crate) fn take_ready<S: Clone>(service: &mut S) -> S {
    let clone = service.clone();
    mem::replace(service, clone)
}

/// Methods of a `Name<S, ..>` whose field `inner` is an `S`.
macro_rules! inner_accessors {
    () => {
        /// The service inside.
        #[must_use]
        pub fn get_ref(&self) -> &S {
            &self.inner
        }

        /// The service inside.
        pub fn get_mut(&mut self) -> &mut S {
            &mut self.inner
        }

        /// Takes the service out.
        #[must_use]
        pub fn into_inner(self) -> S {
            self.inner
        }
    };
}
pub(crate) use inner_accessors;
