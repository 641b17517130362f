//! Answers: a `renderer` makes them of rejections, in `grpc` too; `caching` binds the service's own to its caller.

pub(super) mod caching;
mod grpc;
pub(super) mod renderer;

pub use self::{
    grpc::GrpcRejections,
    renderer::{ProblemJson, RenderRejection, ResponseBody},
};
