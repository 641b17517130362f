//! Everything is let in, and the verdicts are told.
//!
//! The `layer` makes the `service`, which has the verifier judge a `recorded` body, to have it back if the verdict is no.
//! A streamed one it has `watched`.

mod layer;
mod observed;
mod replay;
mod service;

pub(super) use self::observed::{ObservedBody, VerdictHook};
pub use self::{
    layer::ReportOnlyLayer,
    service::{ReportOnly, Verdict},
};
