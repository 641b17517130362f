//! Request bodies, on their way from the client to the service.
//!
//! A `request` body, of any type an `unverified` one, is `incoming`: read whole within a `budget` and by its `deadline`, or
//! `streamed`, or only `observed`. A `check` compares it with what was signed. Then it is `admitted`, and becomes the body of
//! the `service`. The rest of a rejected body goes to the `drain`.

pub(super) mod admitted;
pub(super) mod budget;
pub(super) mod check;
pub(super) mod deadline;
pub(super) mod drain;
pub(super) mod incoming;
pub(super) mod observed;
pub(super) mod request;
pub(super) mod service;
pub(super) mod streamed;
pub(super) mod unverified;

pub use self::{
    check::BodyError, drain::DrainLimits, request::RequestBody, service::ServiceBody, unverified::UnverifiedBody,
};
