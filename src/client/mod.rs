//! The signing side: a [`Signer`](crate::Signer) with the system's clock and random source, and the tower layer around
//! a client.

mod body;
mod layer;
mod origin;
#[cfg(feature = "reqwest")]
mod reqwest;
#[cfg(feature = "reqwest")]
mod reqwest_future;
mod service;
mod signer;

#[cfg(feature = "reqwest")]
pub use self::reqwest_future::ReqwestResponseFuture;
pub use self::{
    body::SignedBody,
    layer::SignLayer,
    origin::OriginError,
    service::{ResponseFuture, Sign, SignableRequest},
};
