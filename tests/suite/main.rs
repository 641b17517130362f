//! Integration tests of the public API.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests fail by panicking")]

mod answers;
mod app_data;
mod bodies;
mod body_deadlines;
mod body_memory;
mod bypass;
mod cached;
mod caches;
mod causes;
mod client;
mod clock_steps;
mod closures;
mod compiler_messages;
mod dependencies;
mod documents;
mod drain;
mod explanations;
mod fairness;
mod fields;
mod form_memory;
mod grants;
mod key_stores;
mod keys;
mod layout;
mod links;
mod metrics;
mod open_routes;
mod outcomes;
mod parameters;
mod processes;
mod properties;
mod proxies;
mod proxy;
mod redis;
#[allow(dead_code, unreachable_pub, reason = "the fuzz targets use the rest")]
#[path = "../reference/mod.rs"]
mod reference;
mod replay;
mod report_only;
mod responses;
mod rig;
mod rollout;
mod route_rules;
mod scripted;
mod secrets;
mod session_keys;
mod shared_memory;
mod signature_errors;
mod stacks;
mod streamed;
mod submission_stores;
mod submissions;
mod token_checks;
mod token_stores;
mod tokens;
mod types;
mod vectors;
mod window;
mod worked_examples;
