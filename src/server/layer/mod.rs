//! The tower layer around a [`Verifier`](crate::server::Verifier), the service that it makes, and that one's future.

mod future;
mod service;
mod verify_layer;

pub use self::{future::ResponseFuture, service::Verify, verify_layer::VerifyLayer};
