//! Checks the signatures of responses: the `layer` and its `service`, for an `http_request` or one of `reqwest`.

mod http_request;
mod layer;
#[cfg(feature = "reqwest")]
mod reqwest;
mod service;

pub use self::{
    layer::CheckResponsesLayer,
    service::{CheckResponses, CheckableRequest},
};
