//! Signs requests: a [`Signer`](crate::Signer) with the system clock and random source, and a tower layer around a
//! client, which can also check the signatures of responses ([`CheckResponsesLayer`]).
//!
//! Sign a request after the HTTP library has settled its method, URL, content type and body. reqwest rewrites URLs. Do
//! not sign an `http::Request` and convert it into a `reqwest::Request`. Sign the `reqwest::Request` instead (feature
//! `reqwest`: `Signer::sign_reqwest`).

mod body;
mod checked;
mod correction;
mod error;
mod exchange;
mod explain;
mod http_request;
mod layer;
mod origin;
mod presigner;
mod refusal;
#[cfg(feature = "reqwest")]
mod reqwest;
#[cfg(feature = "reqwest")]
mod reqwest_signer;
mod service;
mod signer;

pub use crate::response_body::ResponseBody;

pub use self::{
    body::SignedBody,
    checked::{CheckResponses, CheckResponsesLayer, CheckableRequest},
    error::SendError,
    explain::{Cause, Comparison, Difference, SignedLine},
    layer::SignLayer,
    origin::OriginError,
    refusal::Refusal,
    service::{ResponseFuture, Sign, SignableRequest},
};
