//! The service that reports verdicts and rejects nothing.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, request::Parts};
use tower_service::Service;

use super::replay::{ReplayHandle, TeeBody};
use crate::{
    event::{call_closure, catch_panics},
    middleware::{inner_accessors, take_ready},
    protocol::Rejection,
    server::{
        Caller, RequestBody, ResponseFuture, Verifier,
        body::admitted::{AdmittedBody, BodyVerdict},
        forward::hide_secrets,
        verifier::Admission,
    },
    store::{KeyStore, MemoryNonceStore, NonceStore},
};

/// The verdict on a request: its verified caller, or the rejection.
pub type Verdict<'a> = Result<&'a Caller, &'a Rejection>;

/// The closure that gets each verdict.
#[derive(Clone)]
pub(super) struct Report(Arc<ReportFn>);

type ReportFn = dyn Fn(&Parts, Verdict<'_>) + Send + Sync;

impl Report {
    pub(super) fn new(report: impl Fn(&Parts, Verdict<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(report))
    }

    /// Calls the closure. A panic in it does not affect the request, even while another panic unwinds.
    fn call(&self, head: &Parts, verdict: Verdict<'_>) {
        call_closure("report", || (self.0)(head, verdict));
    }
}

/// The service that [`ReportOnlyLayer`](super::ReportOnlyLayer) makes.
pub struct ReportOnly<S, K, N = MemoryNonceStore> {
    inner: S,
    verifier: Arc<Verifier<K, N>>,
    report: Report,
}

impl<S, K, N> ReportOnly<S, K, N> {
    pub(super) fn new(inner: S, verifier: Arc<Verifier<K, N>>, report: Report) -> Self {
        Self { inner, verifier, report }
    }

    inner_accessors!();
}

impl<S, K, N, B> Service<Request<B>> for ReportOnly<S, K, N>
where
    S: Service<Request<B::ServiceBody>, Future: Send> + Clone + Send + 'static,
    K: KeyStore,
    N: NonceStore,
    B: RequestBody,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Response, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut inner = take_ready(&mut self.inner);
        let verifier = self.verifier.clone();
        let report = self.report.clone();
        ResponseFuture::new(async move {
            let (parts, body) = request.into_parts();
            let mut seen = parts.clone();
            hide_secrets(verifier.scheme(), &mut seen.headers);
            let (body, replay) = TeeBody::new(body);
            let verified = CatchPanics(Box::pin(verifier.admit(Request::from_parts(parts, body)))).await;
            let request = match verified.unwrap_or_else(|| Err(Rejection::unavailable("a store panicked"))) {
                Ok(Admission { mut request, verdict }) => {
                    replay.discard();
                    // Remove the kind that an outer report-only layer with another verdict has inserted.
                    request.extensions_mut().remove::<Rejection>();
                    report_verified(report, seen, &request, verdict);
                    request
                }
                Err(rejection) => {
                    report.call(&seen, Err(&rejection));
                    unverified(seen, replay, &rejection)
                }
            };
            inner.call(request).await
        })
    }
}

/// A future that resolves to `None` if the inner future panics. The service is called in that case too.
struct CatchPanics<F>(Pin<Box<F>>);

impl<F: Future> Future for CatchPanics<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match catch_panics(|| self.0.as_mut().poll(context)) {
            Some(poll) => poll.map(Some),
            None => Poll::Ready(None),
        }
    }
}

/// Reports a verified request: immediately, or when its observed body has ended.
fn report_verified<B>(report: Report, seen: Parts, request: &Request<B>, verdict: BodyVerdict) {
    let extensions = request.extensions();
    let is_known_already = seen.extensions.get::<Caller>().is_some();
    let Some(caller) = extensions.get::<Caller>().filter(|_| !is_known_already).cloned() else {
        return;
    };
    match verdict {
        BodyVerdict::Observed(hook) => hook.then(move |body| report.call(&seen, body.map(|()| &caller))),
        _ => report.call(&seen, Ok(&caller)),
    }
}

fn unverified<B: RequestBody>(
    mut parts: Parts,
    replay: ReplayHandle<B>,
    rejection: &Rejection,
) -> Request<B::ServiceBody> {
    parts.extensions.insert(rejection.clone());
    Request::from_parts(parts, B::from_admitted(AdmittedBody::unchecked(replay.replay())))
}

impl<S: Clone, K, N> Clone for ReportOnly<S, K, N> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), verifier: self.verifier.clone(), report: self.report.clone() }
    }
}

impl<S: fmt::Debug, K, N> fmt::Debug for ReportOnly<S, K, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReportOnly").field("inner", &self.inner).finish_non_exhaustive()
    }
}
