//! The signing side: a [`Signer`](crate::Signer) with the system's clock and random source, and the tower layer around
//! a client.
//!
//! Sign what is sent: after the HTTP library has settled method, URL, content type and body. reqwest rewrites URLs: do not sign an
//! `http::Request` and make a `reqwest::Request` of it, but sign the `reqwest::Request` (feature `reqwest`:
//! `Signer::sign_reqwest`).

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
