//! The response future for reqwest. It checks that the response comes from the signed URL.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use reqwest::{Response, Url};

use crate::protocol::{BoxError, SignError};

pin_project! {
    /// The response future of [`Sign`](super::Sign) around reqwest.
    #[cfg_attr(docsrs, doc(cfg(feature = "reqwest")))]
    #[must_use = "futures do nothing unless polled"]
    pub struct ReqwestResponseFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F> {
        Refused { error: Option<SignError> },
        Sent { #[pin] response: F, signed: Option<Url> },
    }
}

impl<F> ReqwestResponseFuture<F> {
    pub(super) fn refused(error: SignError) -> Self {
        Self { state: State::Refused { error: Some(error) } }
    }

    /// Creates the future. `signed` is the URL of a signed request.
    pub(super) fn sent(response: F, mut signed: Option<Url>) -> Self {
        // The fragment is not sent.
        if let Some(url) = &mut signed {
            url.set_fragment(None);
        }
        Self { state: State::Sent { response, signed } }
    }
}

impl<F, E> Future for ReqwestResponseFuture<F>
where
    F: Future<Output = Result<Response, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response, BoxError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Refused { error } => match error.take() {
                Some(error) => Poll::Ready(Err(error.into())),
                // The future has ended already.
                None => Poll::Pending,
            },
            StateProjection::Sent { response, signed } => {
                let response = ready!(response.poll(context)).map_err(Into::into)?;
                Poll::Ready(match signed {
                    Some(signed) => not_redirected(response, signed).map_err(Into::into),
                    None => Ok(response),
                })
            }
        }
    }
}

fn not_redirected(response: Response, signed: &Url) -> Result<Response, SignError> {
    let mut from = response.url().clone();
    from.set_fragment(None);
    if from == *signed {
        return Ok(response);
    }
    // Report only the origin, because the rest of the URL may contain the signature.
    let origin = from.origin().ascii_serialization();
    Err(SignError::without_source(format!(
        "a redirect was followed below the signature, which went along to {origin}: build the reqwest client with \
         redirect::Policy::none(), and follow redirects above SignLayer"
    )))
}

impl<F> fmt::Debug for ReqwestResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReqwestResponseFuture(..)")
    }
}
