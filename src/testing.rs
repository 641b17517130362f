//! Helpers for tests of services behind a verifier.

use std::{fmt, future::poll_fn};

use http::{Request, Response};
use tower_service::Service;

use crate::protocol::{Rejection, RejectionKind};

/// Sends each request to the service, and panics unless the verifier rejects it.
///
/// Pass one unsigned request for each route and method of a service, and one for a path that no route matches.
///
/// ```
/// # #[cfg(feature = "axum")]
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// # use axum::{Router, body::Body, routing::get};
/// # use countersign::{Secret, StaticKeys, VerifyLayer, testing::assert_closed};
/// # use http::Request;
/// # let keys = StaticKeys::new([("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?)])?;
/// let app: Router = Router::new().route("/orders", get(async || "orders")).layer(VerifyLayer::new(keys));
/// let requests = ["/orders", "/no-such-route"].map(|path| Request::get(path).body(Body::empty()).unwrap());
/// assert_closed(app, requests).await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Panics
///
/// Panics if the service answers a request itself (its route is outside the layer), if the service or a store fails, or
/// if the service is misconfigured. The message contains the request's method and path.
#[allow(clippy::panic, reason = "that is how a test fails")]
pub async fn assert_closed<S, B, ResBody>(mut service: S, requests: impl IntoIterator<Item = Request<B>>)
where
    S: Service<Request<B>, Response = Response<ResBody>, Error: fmt::Debug>,
{
    for request in requests {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        if let Err(error) = poll_fn(|context| service.poll_ready(context)).await {
            panic!("{method} {path}: the service is not ready: {error:?}");
        }
        match service.call(request).await {
            Ok(response) => match response.extensions().get().map(Rejection::kind) {
                Some(RejectionKind::Unavailable | RejectionKind::Misconfigured) | None => {
                    panic!("{method} {path} is open: the answer is {}, and not the verifier's", response.status())
                }
                Some(_) => {}
            },
            Err(error) => panic!("{method} {path}: the service failed: {error:?}"),
        }
    }
}
