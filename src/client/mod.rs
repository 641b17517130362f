//! Signs requests: a [`Signer`](crate::Signer) with the system clock and random source, and a tower layer around a
//! client.
//!
//! Sign a request after the HTTP library has settled its method, URL, content type and body. reqwest rewrites URLs. Do
//! not sign an `http::Request` and convert it into a `reqwest::Request`. Sign the `reqwest::Request` instead (feature
//! `reqwest`: `Signer::sign_reqwest`).

mod body;
mod explain;
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
    explain::{Cause, Comparison, Difference, SignedLine},
    layer::SignLayer,
    origin::OriginError,
    service::{ResponseFuture, Sign, SignableRequest},
};
