//! A layer that takes a token without a signature.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderMap, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    middleware::{inner_accessors, take_ready},
    protocol::{Challenge, Rejection, Scheme, SchemeError, TokenLocation, presented_token},
    server::{
        forward::hide_secrets,
        layer::ResponseFuture,
        response::{
            caching::bind_to_caller,
            renderer::{ProblemJson, RenderRejection, ResponseBody, refuse},
        },
    },
    token::{Found, Session, TokenKind, Tokens, is_live},
};

/// Accepts unsigned requests that have a live bearer token.
///
/// It accepts only tokens that were issued as [`bearer`](crate::token::NewToken::bearer) tokens. No
/// [`VerifyLayer`](crate::VerifyLayer) accepts these. So an attacker who reads an unsigned request cannot use its token on
/// signed routes. The token is in `Authorization: Bearer` (RFC 6750), and never in a cookie, because an unsigned request does
/// not prove which page sent it. The handler finds the [`Session`] in the request's extensions. There is no
/// [`Caller`](crate::Caller).
///
/// | request | response |
/// | --- | --- |
/// | no token | 401 `missing_token` |
/// | a token that is not live | 401 `invalid_token` |
/// | a token of another kind | 403 `token_not_allowed` |
/// | the store fails | 503 `unavailable` |
///
/// Each request with a well-formed token costs a store call, and anyone can send one. Put a rate limit above this layer. Its
/// requests are not counted in the metrics of a verifier. Unlike `VerifyLayer`, this layer does not drain the body of a rejected
/// request.
///
/// ```
/// use countersign::{server::TokenLayer, store::MemoryTokenStore, token::{NewToken, Tokens}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tokens = Tokens::new(MemoryTokenStore::new()?);
/// let layer = TokenLayer::new(tokens.clone());
/// let issued = tokens.issue_for(&"demo".parse()?, NewToken::for_user("u-17".parse()?).bearer()).await?;
/// # drop((layer, issued));
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct TokenLayer<R = ProblemJson> {
    tokens: Tokens,
    scheme: Arc<Scheme>,
    renderer: Arc<R>,
}

impl TokenLayer {
    /// Makes a layer that reads the token from `Authorization: Bearer`.
    pub fn new(tokens: Tokens) -> Self {
        let scheme = Scheme::new().with_token_location(TokenLocation::Bearer).unwrap_or_default();
        Self { tokens, scheme: Arc::new(scheme), renderer: Arc::new(ProblemJson::new()) }
    }
}

impl<R> TokenLayer<R> {
    /// Reads the token from the location of this scheme: `Authorization: Bearer`, or the header of the token field. It ignores
    /// cookies and the query. Default: `Authorization: Bearer`.
    ///
    /// # Errors
    ///
    /// The only location of the scheme is a cookie.
    pub fn with_scheme(self, scheme: Scheme) -> Result<Self, SchemeError> {
        match scheme.token_location() {
            TokenLocation::Cookie(name) => Err(SchemeError::UnsignedCookie(name.clone())),
            _ => Ok(Self { scheme: Arc::new(scheme), ..self }),
        }
    }

    /// Sets how the layer responds to rejected requests. Default: [`ProblemJson`].
    pub fn with_renderer<T: RenderRejection>(self, renderer: T) -> TokenLayer<T> {
        TokenLayer { tokens: self.tokens, scheme: self.scheme, renderer: Arc::new(renderer) }
    }

    async fn session(&self, headers: &HeaderMap) -> Result<Session, Rejection> {
        let token = presented_token(&self.scheme, headers)?.ok_or_else(Rejection::missing_token)?;
        let now = self.tokens.now();
        let live = match self.tokens.find_of_any_app(&token, now).await.map_err(Rejection::unavailable)? {
            Found::Live(live) => live,
            // The request proves no app, and the reason is for one app.
            Found::Invalid(_) => return Err(Rejection::invalid_token()),
        };
        if live.session.kind() != TokenKind::Bearer {
            return Err(Rejection::token_not_allowed(
                "this route takes tokens for requests without a signature: send one of those",
            ));
        }
        let is_recorded = self.tokens.is_use_recorded(&live.session, live.is_unused_successor, now);
        let is_still_live =
            is_recorded || is_live(&live.session, self.tokens.use_token(&token, &live.session, now).await)?;
        match is_still_live {
            true => Ok(live.session),
            false => Err(Rejection::invalid_token()),
        }
    }
}

impl<S, R> Layer<S> for TokenLayer<R> {
    type Service = VerifyToken<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        VerifyToken { inner, layer: self.clone() }
    }
}

/// The service that [`TokenLayer`] makes.
#[must_use = "services do nothing unless they are called"]
pub struct VerifyToken<S, R = ProblemJson> {
    inner: S,
    layer: TokenLayer<R>,
}

impl<S, R> VerifyToken<S, R> {
    inner_accessors!();
}

impl<S, R, B, ResBody> Service<Request<B>> for VerifyToken<S, R>
where
    S: Service<Request<B>, Response = Response<ResBody>, Future: Send> + Clone + Send + 'static,
    R: RenderRejection,
    B: Send + 'static,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<Self::Response, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let mut inner = take_ready(&mut self.inner);
        let layer = self.layer.clone();
        ResponseFuture::new(async move {
            hide_secrets(&layer.scheme, request.headers_mut());
            match layer.session(request.headers()).await {
                Ok(session) => request.extensions_mut().insert(session),
                Err(rejection) => {
                    return Ok(refuse(&*layer.renderer, &rejection.with_challenge(Challenge::Bearer)));
                }
            };
            let mut response = inner.call(request).await?;
            bind_to_caller(response.headers_mut(), &layer.scheme);
            Ok(response.map(ResponseBody::of_service))
        })
    }
}

impl<R> Clone for TokenLayer<R> {
    fn clone(&self) -> Self {
        Self { tokens: self.tokens.clone(), scheme: self.scheme.clone(), renderer: self.renderer.clone() }
    }
}

impl<S: Clone, R> Clone for VerifyToken<S, R> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<R> fmt::Debug for TokenLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenLayer").field("tokens", &self.tokens).finish_non_exhaustive()
    }
}

impl<S: fmt::Debug, R> fmt::Debug for VerifyToken<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyToken").field("inner", &self.inner).finish_non_exhaustive()
    }
}
