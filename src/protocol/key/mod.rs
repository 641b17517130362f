//! Keys: the `secret`, the `app_key` that contains one, and the `ring` of an app's keys.

pub(super) mod app_key;
pub(super) mod ring;
pub(super) mod secret;
