//! Step 1: the `fields` of a request, read from their `location` or written there. The `token` has its own location.

pub(super) mod fields;
pub(super) mod location;
pub(super) mod token;
