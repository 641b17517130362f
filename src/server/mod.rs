//! The verifying side: the [`Verifier`], and the tower layer around it.
//!
//! [`Verifier::verify`] checks a request and returns the one that may reach the service. [`VerifyLayer`] makes a [`Verify`]
//! service of it, which answers rejected requests with a [`RenderRejection`]: [`ProblemJson`] by default, or
//! [`GrpcRejections`]. The service finds a [`Caller`] in the request's extensions.

mod admitted;
mod arriving;
mod body;
mod bypass;
mod byte_budget;
mod caching;
mod caller;
mod deadline;
mod drain;
#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
mod extract;
mod forwarded;
mod future;
mod grpc;
mod head;
mod layer;
mod look_up;
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
    drain::DrainLimits,
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
