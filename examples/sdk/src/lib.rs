#![doc = include_str!("../README.md")]
//!
//! # Where to look
//!
//! `client.rs` has the calls, `retry.rs` decides what is sent again, and `error.rs` says what a caller learns from a
//! failure. `builder.rs` puts the signer and the HTTP client together, and `upload.rs` prepares bodies.

mod builder;
mod client;
mod error;
mod model;
mod retry;
mod upload;

pub use countersign::{Refusal, RejectionKind, Secret};
use countersign::{Scheme, SchemeError};
use reqwest::header::HeaderName;
pub use uuid::Uuid;

pub use self::{
    builder::{BuildError, Builder},
    client::Client,
    error::{ApiError, Error},
    model::{Document, Order, Receipt, StoredFile},
};

/// The header that has the same value on each attempt to place one order.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Returns what this client and the service configure alike. The idempotency key is signed, so nobody between them can
/// change it.
///
/// # Errors
///
/// A header that cannot be signed. The names here can be.
pub fn scheme() -> Result<Scheme, SchemeError> {
    Scheme::new().with_signed_headers([IDEMPOTENCY_KEY])
}
