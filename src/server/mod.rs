//! Verifies requests: the [`Verifier`], and the tower layer around it.
//!
//! [`Verifier::verify`] checks a request and returns the one that may reach the service. [`VerifyLayer`] wraps a
//! service in a [`Verify`] service. Its [`RenderRejection`] makes the responses to rejected requests: [`ProblemJson`] by
//! default, or [`GrpcRejections`]. A [`SignResponsesLayer`] around it signs the responses. The inner service finds a [`Caller`] in the extensions of a verified request.

mod app_lookup;
#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
mod axum;
mod body;
mod bypass;
mod caller;
#[cfg(feature = "tokens")]
mod caller_tokens;
mod forward;
mod head;
mod layer;
mod link;
mod non_decreasing_clock;
mod options;
mod outcome;
pub(crate) mod report_only;
mod response;
#[cfg(feature = "tokens")]
mod route;
mod signed;
#[cfg(feature = "submissions")]
mod signed_submission;
mod steps;
mod token;
#[cfg(feature = "tokens")]
mod token_source;
mod verifier;

#[cfg(feature = "tokens")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokens")))]
pub use self::route::{Require, RequireFuture, RequireLayer, TokenLayer, VerifyToken};
pub use self::{
    body::{BodyError, DrainLimits, RequestBody, ServiceBody, UnverifiedBody},
    caller::Caller,
    layer::{ResponseFuture, Verify, VerifyLayer},
    link::{opened::OpenedLink, options::Links},
    options::PrefixError,
    outcome::{Decision, Outcome},
    response::{GrpcRejections, ProblemJson, RenderRejection, ResponseBody},
    signed::{layer::SignResponsesLayer, service::SignResponses},
    verifier::Verifier,
};
#[cfg(feature = "submissions")]
pub(crate) use self::{
    response::{caching::is_no_store, renderer::refuse},
    signed_submission::SignedSubmission,
};
