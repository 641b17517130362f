//! The conformance tests for token stores. `suite` lists them. Each other file tests one part of the contract: how long
//! tokens live (`lifetimes`), limits on sessions (`limits`), ends and their reasons (`ends`), one-time tokens and the use
//! of sessions (`uses`), renewal (`renewals`), concurrent calls (`races`), grants (`grants`) and full stores (`bounded`).
//! `fixtures` has what they share.

mod bounded;
mod ends;
mod fixtures;
mod grants;
mod lifetimes;
mod limits;
mod races;
mod renewals;
mod suite;
mod uses;

pub use self::suite::{bounded_token_store, token_store};
