//! The service that [`VerifyLayer`](crate::server::VerifyLayer) makes.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use crate::{
    middleware::{inner_accessors, take_ready},
    server::{
        body::{
            admitted::BodyVerdict,
            drain::{Drain, DrainedBody},
            request::RequestBody,
        },
        caller::Caller,
        layer::{future::ResponseFuture, verify_layer::VerifyLayer},
        response::{
            caching::bind_to_caller,
            renderer::{ProblemJson, RenderRejection, ResponseBody, refuse},
        },
        verifier::{Admission, Verifier},
    },
    store::{KeyStore, MemoryNonceStore, NonceStore},
};

/// Verifies requests before the inner service gets them.
///
/// The response to a rejected request has its [`Rejection`](crate::Rejection) in its extensions, for outer layers that
/// count or log.
#[must_use = "services do nothing unless they are called"]
pub struct Verify<S, K, N = MemoryNonceStore, R = ProblemJson> {
    inner: S,
    verifier: Arc<Verifier<K, N>>,
    renderer: Arc<R>,
    drain: Option<Arc<Drain>>,
}

impl<S, K, N, R> Verify<S, K, N, R> {
    pub(in crate::server) fn new(inner: S, layer: &VerifyLayer<K, N, R>) -> Self {
        let VerifyLayer { verifier, renderer, drain } = layer.clone();
        Self { inner, verifier, renderer, drain }
    }

    inner_accessors!();
}

impl<S, K, N, R, B, ResBody> Service<Request<B>> for Verify<S, K, N, R>
where
    S: Service<Request<B::ServiceBody>, Response = Response<ResBody>, Future: Send> + Clone + Send + 'static,
    K: KeyStore,
    N: NonceStore,
    R: RenderRejection,
    B: RequestBody,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<Self::Response, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut inner = take_ready(&mut self.inner);
        let verifier = self.verifier.clone();
        let renderer = self.renderer.clone();
        let (parts, body) = request.into_parts();
        let body = DrainedBody::new(body, &parts.headers, self.drain.as_ref());
        let request = Request::from_parts(parts, body);
        ResponseFuture::new(async move {
            let Admission { request, verdict } = match verifier.admit(request).await {
                Ok(admission) => admission,
                Err(rejection) => return Ok(refuse(&*renderer, &rejection)),
            };
            let caller = request.extensions().get::<Caller>();
            let is_verified = caller.is_some();
            let link = caller.and_then(|caller| verifier.link_answer(caller));
            let response = inner.call(request).await;
            // If the streamed body was rejected, discard the service's response, because it is based on unverified
            // bytes.
            if let BodyVerdict::Streamed(refusal) = &verdict
                && let Some(rejection) = refusal.rejection()
            {
                return Ok(refuse(&*renderer, rejection));
            }
            let mut response = response?;
            // The time of another verifier, which a gateway may pass on, would make a client sign and send again what this
            // service has carried out.
            response.headers_mut().remove("x-server-time");
            match link {
                Some(link) => link.bind(response.headers_mut(), verifier.time().now),
                None if is_verified => bind_to_caller(response.headers_mut(), verifier.scheme()),
                None => {}
            }
            Ok(response.map(ResponseBody::of_service))
        })
    }
}

impl<S: Clone, K, N, R> Clone for Verify<S, K, N, R> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            verifier: self.verifier.clone(),
            renderer: self.renderer.clone(),
            drain: self.drain.clone(),
        }
    }
}

impl<S: fmt::Debug, K, N, R> fmt::Debug for Verify<S, K, N, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verify").field("inner", &self.inner).field("verifier", &self.verifier).finish_non_exhaustive()
    }
}
