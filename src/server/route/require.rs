//! A layer that applies a rule to the requests that a verifying layer has let in.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::rule::Rule;
use crate::{
    event,
    middleware::inner_accessors,
    protocol::{Rejection, RejectionKind},
    server::response::renderer::{ProblemJson, RenderRejection, ResponseBody, refuse},
};

/// Requires a kind of token, or a kind of key, from each request.
///
/// Put it below a [`VerifyLayer`](crate::VerifyLayer) or a [`TokenLayer`](super::TokenLayer), around the routes that need it.
/// It calls no store.
///
/// | rule | response to other requests |
/// | --- | --- |
/// | [`token`](Self::token) | 401 `missing_token` |
/// | [`user_token`](Self::user_token), [`api_token`](Self::api_token) | 401 `missing_token`, or 403 `token_not_allowed` |
/// | [`app_key`](Self::app_key) | 403 `key_not_allowed` |
///
/// The response is 500 `misconfigured` if no verifying layer is above, if it [bypasses](crate::Verifier::with_insecure_bypass)
/// the request, or if the rule is about a token that no one has checked. A request that a
/// [`ReportOnlyLayer`](crate::danger::ReportOnlyLayer) has let in unverified passes every rule.
///
/// ```
/// use countersign::{Secret, StaticKeys, Verifier, server::RequireLayer, store::MemoryTokenStore, token::Tokens};
///
/// # let keys = StaticKeys::new([("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?)])?;
/// let tokens = Tokens::new(MemoryTokenStore::new()?);
/// let verifier = Verifier::new(keys).with_tokens(tokens.clone());
/// let layers = tower::ServiceBuilder::new().layer(verifier.into_layer()).layer(RequireLayer::user_token());
/// # drop(layers);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct RequireLayer<R = ProblemJson> {
    rule: Rule,
    renderer: Arc<R>,
}

impl RequireLayer {
    /// Requires a token of any kind.
    pub fn token() -> Self {
        Self::new(Rule::Token)
    }

    /// Requires a token of a user.
    pub fn user_token() -> Self {
        Self::new(Rule::UserToken)
    }

    /// Requires a token of an app itself.
    pub fn api_token() -> Self {
        Self::new(Rule::ApiToken)
    }

    /// Requires a signature by a key of the app, for example on a route that issues tokens. The key of a session is not
    /// enough.
    pub fn app_key() -> Self {
        Self::new(Rule::AppKey)
    }

    fn new(rule: Rule) -> Self {
        Self { rule, renderer: Arc::new(ProblemJson::new()) }
    }
}

impl<R> RequireLayer<R> {
    /// Sets how the layer responds to rejected requests. Default: [`ProblemJson`].
    pub fn with_renderer<T: RenderRejection>(self, renderer: T) -> RequireLayer<T> {
        RequireLayer { rule: self.rule, renderer: Arc::new(renderer) }
    }
}

impl<S, R> Layer<S> for RequireLayer<R> {
    type Service = Require<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Require { inner, rule: self.rule, renderer: self.renderer.clone() }
    }
}

/// The service that [`RequireLayer`] makes.
#[must_use = "services do nothing unless they are called"]
pub struct Require<S, R = ProblemJson> {
    inner: S,
    rule: Rule,
    renderer: Arc<R>,
}

impl<S, R> Require<S, R> {
    inner_accessors!();
}

impl<S, R, B, ResBody> Service<Request<B>> for Require<S, R>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    R: RenderRejection,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = RequireFuture<S::Future, ResBody>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let kind = match self.rule.check(request.extensions()) {
            Ok(()) => RequireKind::Inner { future: self.inner.call(request) },
            Err(rejection) => {
                report(&rejection);
                RequireKind::Refused { response: Some(Box::new(refuse(&*self.renderer, &rejection))) }
            }
        };
        RequireFuture { kind }
    }
}

fn report(rejection: &Rejection) {
    if rejection.kind() == RejectionKind::Misconfigured {
        event::catch_panics(|| event::misconfigured(rejection));
    }
}

pin_project! {
    /// The future of [`Require`].
    #[must_use = "futures do nothing unless polled"]
    pub struct RequireFuture<F, B> {
        #[pin]
        kind: RequireKind<F, B>,
    }
}

pin_project! {
    #[project = RequireProjection]
    enum RequireKind<F, B> {
        Inner { #[pin] future: F },
        Refused { response: Option<Box<Response<ResponseBody<B>>>> },
    }
}

impl<F, B, E> Future for RequireFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            RequireProjection::Inner { future } => {
                Poll::Ready(ready!(future.poll(context)).map(|response| response.map(ResponseBody::of_service)))
            }
            RequireProjection::Refused { response } => match response.take() {
                Some(response) => Poll::Ready(Ok(*response)),
                None => Poll::Pending,
            },
        }
    }
}

impl<R> Clone for RequireLayer<R> {
    fn clone(&self) -> Self {
        Self { rule: self.rule, renderer: self.renderer.clone() }
    }
}

impl<S: Clone, R> Clone for Require<S, R> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), rule: self.rule, renderer: self.renderer.clone() }
    }
}

impl<R> fmt::Debug for RequireLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireLayer").field("rule", &self.rule).finish_non_exhaustive()
    }
}

impl<S: fmt::Debug, R> fmt::Debug for Require<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Require").field("inner", &self.inner).field("rule", &self.rule).finish_non_exhaustive()
    }
}

impl<F, B> fmt::Debug for RequireFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequireFuture(..)")
    }
}
