//! The conformance tests for submission stores. `suite` lists them. Each other file tests one part of the contract: who
//! gets a place (`reservations`), how leases end (`leases`), how submissions end (`finishes`), when entries expire
//! (`expiry`), concurrent calls (`races`) and full stores (`bounded`). `fixtures` has what they share.

mod bounded;
mod expiry;
mod finishes;
mod fixtures;
mod leases;
mod races;
mod reservations;
mod suite;

pub use self::suite::{bounded_submission_store, submission_store};
