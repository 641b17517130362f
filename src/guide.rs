//! Pages for those who run it.

/// How a running service comes to refuse what is not signed, and nobody notices.
#[cfg_attr(feature = "axum", doc = include_str!("../docs/rollout.md"))]
pub mod rollout {}
