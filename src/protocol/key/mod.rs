//! Keys: the `secret`, the `app_key` that contains one, the `ring` of an app's keys, and the `session_key` that is derived
//! from a key of the app.

pub(super) mod app_key;
pub(super) mod ring;
pub(super) mod secret;
mod session_key;
