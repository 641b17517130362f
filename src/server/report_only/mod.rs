//! A layer that accepts every request and reports the verdicts.
//!
//! The `layer` makes the `service`, which verifies a body through `replay`. If the verdict is a rejection, `replay`
//! returns the body from its start. A streamed body is only observed.

mod layer;
mod replay;
mod service;

pub use self::{
    layer::ReportOnlyLayer,
    service::{ReportOnly, Verdict},
};
