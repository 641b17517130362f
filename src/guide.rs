//! Pages for those who run it.

/// Adding signatures to a running service without an outage.
#[cfg_attr(feature = "axum", doc = include_str!("../docs/rollout.md"))]
pub mod rollout {}
