//! Everything is let in, and the verdicts are told.
//!
//! The `layer` makes the `service`, which verifies a body that can be had back by `replay` if the verdict is no. A
//! streamed body is only observed.

mod layer;
mod replay;
mod service;

pub use self::{
    layer::ReportOnlyLayer,
    service::{ReportOnly, Verdict},
};
