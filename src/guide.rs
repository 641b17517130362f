//! Guides, one topic per page.

/// How to add signatures to a running service without an outage.
#[cfg_attr(feature = "axum", doc = include_str!("../docs/rollout.md"))]
pub mod rollout {}

/// How to share nonces between machines with Redis: requirements, sizing and outages.
#[cfg_attr(feature = "redis", doc = include_str!("../docs/redis.md"))]
pub mod redis {}

/// How to rotate an app's keys while clients sign, and the key file format.
#[cfg_attr(feature = "key-file", doc = include_str!("../docs/keys.md"))]
pub mod keys {}

/// How to issue, require, renew and end tokens, and how browsers and phones sign with session keys.
#[cfg_attr(all(feature = "axum", feature = "tokens"), doc = include_str!("../docs/tokens.md"))]
pub mod tokens {}

/// How to give out share links, end them with grants, and use them for downloads, mail and other services.
#[cfg_attr(all(feature = "axum", feature = "client", feature = "tokens"), doc = include_str!("../docs/links.md"))]
pub mod links {}
/// How a service runs each submission once, and how a client retries it.
#[cfg_attr(all(feature = "axum", feature = "submissions"), doc = include_str!("../docs/retries.md"))]
pub mod retries {}

/// Metrics, events and the observer hook: what is available, when to alert, and how an outage looks.
#[cfg_attr(feature = "metrics", doc = include_str!("../docs/metrics.md"))]
#[cfg_attr(feature = "metrics", doc = include_str!("../docs/outage.svg"))]
pub mod metrics {}

/// How to protect every route in axum, a test that finds unprotected routes, and common mistakes.
#[cfg_attr(all(feature = "axum", feature = "test-util"), doc = include_str!("../docs/open_routes.md"))]
pub mod open_routes {}

/// How to run behind nginx, HAProxy or a CDN.
#[doc = include_str!("../docs/proxies.md")]
pub mod proxies {}

/// How clients sign: a single request, all requests of a client, retries and redirects.
#[cfg_attr(feature = "client", doc = include_str!("../docs/clients.md"))]
pub mod clients {}

/// How to sign responses, and what a client may conclude from them.
#[cfg_attr(all(feature = "axum", feature = "client"), doc = include_str!("../docs/responses.md"))]
pub mod responses {}

/// How to read keys from a database, and how to pass an app's data to handlers.
#[cfg_attr(feature = "key-cache", doc = include_str!("../docs/databases.md"))]
pub mod databases {}

/// How to accept bodies that are too large for memory.
#[cfg_attr(feature = "axum", doc = include_str!("../docs/uploads.md"))]
pub mod uploads {}

/// How to find out why a request is rejected.
#[cfg_attr(feature = "server", doc = include_str!("../docs/troubleshooting.md"))]
pub mod troubleshooting {}
