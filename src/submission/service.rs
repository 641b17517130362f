//! The service that [`SubmitOnceLayer`](super::SubmitOnceLayer) makes.

use std::{
    fmt,
    panic::resume_unwind,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::sync::oneshot;
use tower_service::Service;

use super::{
    options::Options,
    read::{is_safe, read},
    reply::{mark, reply},
    reserve::reserve,
    run::{Failure, run},
};
use crate::{
    event,
    middleware::{inner_accessors, take_ready},
    protocol::{Rejection, RejectionKind},
    response_body::ResponseBody as AnswerBody,
    server::{ProblemJson, RenderRejection, ResponseBody, ResponseFuture, refuse},
};

/// Runs each submission once. [`SubmitOnceLayer`](super::SubmitOnceLayer) makes it.
///
/// If the inner service panics, the call panics with the same payload, as it would without the layer. The response to a rejected
/// request has its [`Rejection`](crate::Rejection) in its extensions.
#[must_use = "services do nothing unless they are called"]
pub struct SubmitOnce<S, R = ProblemJson> {
    inner: S,
    options: Arc<Options>,
    renderer: Arc<R>,
}

impl<S, R> SubmitOnce<S, R> {
    pub(super) fn new(inner: S, options: Arc<Options>, renderer: Arc<R>) -> Self {
        Self { inner, options, renderer }
    }

    inner_accessors!();
}

impl<S, R, B, ResBody> Service<Request<B>> for SubmitOnce<S, R>
where
    S: Service<Request<B>, Response = Response<ResBody>, Error: Send, Future: Send> + Clone + Send + 'static,
    R: RenderRejection,
    B: Send + 'static,
    ResBody: Body<Data = Bytes, Error: Send> + Send + 'static,
{
    type Response = Response<ResponseBody<AnswerBody<ResBody>>>;
    type Error = S::Error;
    type Future = ResponseFuture<Self::Response, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let inner = take_ready(&mut self.inner);
        let (options, renderer) = (self.options.clone(), self.renderer.clone());
        ResponseFuture::new(async move {
            answer(inner, request, options).await.unwrap_or_else(|rejection| {
                if rejection.kind() == RejectionKind::Misconfigured {
                    event::catch_panics(|| event::misconfigured(&rejection));
                }
                Ok(refuse(&*renderer, &rejection))
            })
        })
    }
}

type Answer<B, E> = Result<Response<ResponseBody<AnswerBody<B>>>, E>;

async fn answer<S, B, ResBody>(
    mut inner: S,
    request: Request<B>,
    options: Arc<Options>,
) -> Result<Answer<ResBody, S::Error>, Rejection>
where
    S: Service<Request<B>, Response = Response<ResBody>, Error: Send, Future: Send> + Send + 'static,
    B: Send + 'static,
    ResBody: Body<Data = Bytes, Error: Send> + Send + 'static,
{
    let (mut parts, body) = request.into_parts();
    let submitted = if is_safe(&parts.method) { None } else { read(&options, &parts)? };
    let Some(submitted) = submitted else {
        let response = inner.call(Request::from_parts(parts, body)).await;
        return Ok(response.map(|response| response.map(|body| ResponseBody::of_service(AnswerBody::new(body)))));
    };
    let held = match reserve(&options, &submitted).await? {
        Ok(held) => held,
        Err(entry) => return reply(&entry, &submitted).map(Ok),
    };
    parts.extensions.insert(submitted.submission.clone());
    let request = Request::from_parts(parts, body);
    let (sender, receiver) = oneshot::channel();
    let max_stored = options.max_stored.filter(|_| submitted.is_replayable);
    options.running.spawn(run(inner, request, held, options.clone(), max_stored, sender))?;
    match receiver.await {
        Ok(Ok(mut response)) => {
            mark(response.headers_mut(), &submitted, false);
            Ok(Ok(response.map(ResponseBody::of_service)))
        }
        Ok(Err(Failure::Error(error))) => Ok(Err(error)),
        Ok(Err(Failure::Panic(payload))) => resume_unwind(payload),
        // The runtime has dropped the task.
        Err(_) => Err(Rejection::submission_outcome_unknown(submitted.ttl)),
    }
}

impl<S: Clone, R> Clone for SubmitOnce<S, R> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), options: self.options.clone(), renderer: self.renderer.clone() }
    }
}

impl<S: fmt::Debug, R> fmt::Debug for SubmitOnce<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubmitOnce").field("inner", &self.inner).finish_non_exhaustive()
    }
}
