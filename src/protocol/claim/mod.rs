//! Step 1: the `fields` of a request, read from their `location` or written there. The `token` has its own location.
//! A share `link` has its fields in its query.

pub(super) mod fields;
#[cfg(feature = "server")]
pub(super) mod link;
pub(super) mod location;
pub(super) mod token;
