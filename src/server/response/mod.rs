//! Responses: a `renderer` makes them from rejections, also for `grpc`. `caching` keeps the service's own responses
//! private to their caller.

pub(super) mod caching;
mod grpc;
pub(super) mod renderer;

pub use self::{
    grpc::GrpcRejections,
    renderer::{ProblemJson, RenderRejection, ResponseBody},
};
