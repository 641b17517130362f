//! The service inside a service, as tower's middleware gives it out.

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
