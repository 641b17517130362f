//! The configuration that both ends share: the `contract`, with the names of headers and parameters, that of share
//! `links`, and the signed `response_headers`. The `limits` belong to the verifier alone.

mod audience;
pub(super) mod contract;
pub(super) mod error;
pub(super) mod headers;
pub(super) mod limits;
pub(super) mod links;
pub(super) mod parameter_names;
pub(super) mod response_headers;
mod secret_headers;
