//! The verifying side: one entry through which every request goes, and the tower layer around it.
//!
//! [`Verifier::verify`] is the whole way in. [`VerifyLayer`] makes a [`Verify`] service of it, which answers rejected
//! requests by a [`RenderRejection`].

mod arriving;
mod body;
mod byte_budget;
mod caching;
mod caller;
mod delivery;
mod exemption;
#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
mod extract;
mod future;
mod grpc;
mod head;
mod layer;
mod options;
mod outcome;
pub(crate) mod report_only;
mod response;
mod service;
mod service_body;
mod streamed;
mod verifier;

pub use self::{
    body::{RequestBody, UnverifiedBody},
    caller::Caller,
    future::ResponseFuture,
    grpc::GrpcRejections,
    layer::VerifyLayer,
    options::PrefixError,
    outcome::{Decision, Outcome},
    response::{ProblemJson, RenderRejection, ResponseBody},
    service::Verify,
    service_body::{BodyError, ServiceBody},
    verifier::Verifier,
};
