//! Request bodies, from the client to the service.
//!
//! A `request` body, or an `unverified` one of any type, is an `incoming` body. It is read within a `budget` and by its
//! `deadline`, or `streamed`, or only `observed`. A `check` compares it with the signed digest or parameters. It is
//! then an `admitted` body, and becomes the body of the `service`. The `drain` reads the rest of a rejected body.

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
