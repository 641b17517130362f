//! The response to come.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use http::Response;

use super::response::ResponseBody;

/// The future of [`Verify`](super::Verify).
pub struct ResponseFuture<B, E>(Pin<Box<dyn Future<Output = Output<B, E>> + Send>>);

type Output<B, E> = Result<Response<ResponseBody<B>>, E>;

impl<B, E> ResponseFuture<B, E> {
    pub(super) fn new(future: impl Future<Output = Output<B, E>> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }
}

impl<B, E> Future for ResponseFuture<B, E> {
    type Output = Output<B, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

impl<B, E> fmt::Debug for ResponseFuture<B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseFuture(..)")
    }
}
