//! Pages for those who run it.

/// Adding signatures to a running service without an outage.
#[cfg_attr(feature = "axum", doc = include_str!("../docs/rollout.md"))]
pub mod rollout {}

/// Sharing nonces between machines by Redis: what it must be, how large, and what its outages do.
#[cfg_attr(feature = "redis", doc = include_str!("../docs/redis.md"))]
pub mod redis {}
