//! Reads and discards the rest of request bodies, so that the client gets the response.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::{runtime::Handle, sync::Semaphore, task::consume_budget, time::timeout};

use crate::server::body::{
    admitted::AdmittedBody,
    request::{RequestBody, sealed::Sealed},
};

/// Limits on how much of a request's body is read and discarded after the response is sent.
///
/// If a server closes the connection while the client is still sending, the response is lost. The client, or a proxy in
/// between, then sees a broken connection instead of a rejection, and a proxy may consider the whole server dead. A
/// background task therefore receives and discards the rest of a body that the service has not read. The task ends when
/// the body ends, or at the first of these limits. It holds no data.
///
/// If a request has `Expect: 100-continue` and its body was not read, the body is not drained, because the client does
/// not send it.
///
/// ```
/// # use countersign::{Secret, StaticKeys, VerifyLayer, server::DrainLimits};
/// # use std::time::Duration;
/// # let keys = StaticKeys::new([("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?)])?;
/// let limits = DrainLimits::new().with_bytes(8 * 1024 * 1024).with_timeout(Duration::from_secs(2));
/// let layer = VerifyLayer::new(keys).with_drain_limits(limits);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainLimits {
    bytes: u64,
    timeout: Duration,
    bodies: usize,
}

impl DrainLimits {
    /// Makes the default limits: 64 MiB and 5 seconds for each body, and 1,024 bodies at a time.
    #[must_use]
    pub fn new() -> Self {
        Self { bytes: 64 * 1024 * 1024, timeout: Duration::from_secs(5), bodies: 1024 }
    }

    /// Sets the most bytes that are discarded of one body. Default: 64 MiB. With 0, no body is drained.
    #[must_use]
    pub fn with_bytes(self, bytes: u64) -> Self {
        Self { bytes, ..self }
    }

    /// Sets how long one body is drained. Default: 5 seconds. With 0, no body is drained.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sets how many bodies are drained at a time. Any other body is dropped immediately. Default: 1,024. With 0, no
    /// body is drained.
    #[must_use]
    pub fn with_bodies(self, bodies: usize) -> Self {
        Self { bodies, ..self }
    }
}

impl Default for DrainLimits {
    fn default() -> Self {
        Self::new()
    }
}

/// Drains bodies within the limits.
pub(in crate::server) struct Drain {
    limits: DrainLimits,
    places: Arc<Semaphore>,
}

impl Drain {
    /// Returns `None` if a limit is 0.
    pub(in crate::server) fn new(limits: DrainLimits) -> Option<Arc<Self>> {
        let is_on = limits.bytes > 0 && !limits.timeout.is_zero() && limits.bodies > 0;
        let places = Arc::new(Semaphore::new(limits.bodies.min(Semaphore::MAX_PERMITS)));
        is_on.then(|| Arc::new(Self { limits, places }))
    }

    /// Drains the body in a background task. Drops it if there is no runtime or if too many bodies are already being
    /// drained.
    fn spawn<B: RequestBody>(&self, body: B) {
        let (Ok(runtime), Ok(place)) = (Handle::try_current(), self.places.clone().try_acquire_owned()) else {
            return;
        };
        let limits = self.limits;
        runtime.spawn(async move {
            let _ = timeout(limits.timeout, discard(body, limits.bytes)).await;
            drop(place);
        });
    }
}

async fn discard<B: RequestBody>(mut body: B, limit: u64) {
    let mut discarded = 0;
    while discarded < limit && !body.is_end_stream() {
        // Yields to the timeout even if the body is always ready.
        consume_budget().await;
        match body.frame().await {
            Some(Ok(frame)) => discarded += frame.data_ref().map_or(0, |data| data.len() as u64),
            Some(Err(_)) | None => return,
        }
    }
}

/// A body that is drained if it is dropped before its end.
pub(in crate::server) struct DrainedBody<B: RequestBody> {
    /// `None` if the body has ended or failed.
    body: Option<B>,
    drain: Option<Arc<Drain>>,
    /// If `true`, the client sends nothing until the body is polled.
    is_awaited: bool,
}

impl<B: RequestBody> DrainedBody<B> {
    pub(in crate::server) fn new(body: B, headers: &HeaderMap, drain: Option<&Arc<Drain>>) -> Self {
        let drain = drain.filter(|_| !body.is_end_stream()).cloned();
        let is_awaited = drain.is_some() && headers.contains_key(header::EXPECT);
        Self { body: Some(body), drain, is_awaited }
    }
}

impl<B: RequestBody> Drop for DrainedBody<B> {
    fn drop(&mut self) {
        if let (Some(drain), Some(body), false) = (&self.drain, self.body.take(), self.is_awaited)
            && !body.is_end_stream()
        {
            drain.spawn(body);
        }
    }
}

impl<B: RequestBody> Body for DrainedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        this.is_awaited = false;
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        let frame = Pin::new(body).poll_frame(context);
        if let Poll::Ready(None | Some(Err(_))) = frame {
            this.body = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(B::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), B::size_hint)
    }
}

impl<B: RequestBody> Sealed for DrainedBody<B> {}

impl<B: RequestBody> RequestBody for DrainedBody<B> {
    type ServiceBody = B::ServiceBody;

    fn from_admitted(body: AdmittedBody) -> B::ServiceBody {
        B::from_admitted(body)
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.limits.fmt(f)
    }
}
