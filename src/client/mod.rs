//! The signing side: a [`Signer`](crate::Signer) with the system's clock and random source, and the tower layer around
//! a client.

mod layer;
mod origin;
mod service;
mod signer;

pub use self::{
    layer::SignLayer,
    origin::OriginError,
    service::{Sign, SignFuture},
};
