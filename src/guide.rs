//! Guides: one question a page.

/// Adding signatures to a running service without an outage.
#[cfg_attr(feature = "axum", doc = include_str!("../docs/rollout.md"))]
pub mod rollout {}

/// Sharing nonces between machines by Redis: what it must be, how large, and what its outages do.
#[cfg_attr(feature = "redis", doc = include_str!("../docs/redis.md"))]
pub mod redis {}

/// Changing an app's key for another while clients sign, and the file that keys are read from.
#[cfg_attr(feature = "key-file", doc = include_str!("../docs/keys.md"))]
pub mod keys {}

/// Metrics, events and a hook: what is there, what to alarm on, and what an outage looks like.
#[cfg_attr(feature = "metrics", doc = include_str!("../docs/metrics.md"))]
#[cfg_attr(feature = "metrics", doc = include_str!("../docs/outage.svg"))]
pub mod metrics {}

/// The shape that leaves no route open in axum, a test that finds open routes, and mistakes that leave one open.
#[cfg_attr(all(feature = "axum", feature = "test-util"), doc = include_str!("../docs/open_routes.md"))]
pub mod open_routes {}

/// Running behind nginx, HAProxy or a CDN.
#[doc = include_str!("../docs/proxies.md")]
pub mod proxies {}

/// Signing clients: one request, everything that a client sends, retries and redirects.
#[cfg_attr(feature = "client", doc = include_str!("../docs/clients.md"))]
pub mod clients {}

/// Keys in a database, and an app's data for handlers.
#[cfg_attr(feature = "key-cache", doc = include_str!("../docs/databases.md"))]
pub mod databases {}

/// Bodies that are too large for memory.
#[cfg_attr(feature = "axum", doc = include_str!("../docs/uploads.md"))]
pub mod uploads {}

/// Finding out why a request is refused.
#[cfg_attr(feature = "server", doc = include_str!("../docs/troubleshooting.md"))]
pub mod troubleshooting {}
