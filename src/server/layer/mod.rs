//! The tower layer around a [`Verifier`](crate::server::Verifier), its service and its future.

mod future;
mod service;
mod verify_layer;

pub use self::{future::ResponseFuture, service::Verify, verify_layer::VerifyLayer};
