//! The deadline of a body that is buffered.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use tokio::{
    runtime::Handle,
    time::{Sleep, sleep},
};

use crate::{
    event::catch_panics,
    protocol::{Rejection, RejectionKind},
};

/// A timeout that starts when a request's head arrives. A body that arrives at once needs no timer and no clock
/// reading.
pub(in crate::server) struct Deadline<F> {
    timeout: Duration,
    /// Returns the time since the head arrived.
    elapsed: F,
}

impl<F: Fn() -> Duration> Deadline<F> {
    pub(in crate::server) fn new(timeout: Duration, elapsed: F) -> Self {
        Self { timeout, elapsed }
    }

    /// Waits for a body. If the timeout expires, drops the bytes read so far and returns a rejection.
    pub(in crate::server) async fn wait_for<T>(
        &self,
        body: impl Future<Output = Result<T, Rejection>>,
    ) -> Result<T, Rejection> {
        if self.timeout == Duration::MAX {
            return body.await;
        }
        let mut body = pin!(body);
        let mut timer = None;
        poll_fn(|context| {
            if let Poll::Ready(read) = body.as_mut().poll(context) {
                // Check the clock too, because the timer stops while the machine is suspended.
                let is_over = timer.is_some() && (self.elapsed)() > self.timeout;
                return Poll::Ready(if is_over { Err(self.timed_out()) } else { read });
            }
            let timer = match &mut timer {
                Some(timer) => timer,
                none => none.insert(Box::pin(self.timer()?)),
            };
            timer.as_mut().poll(context).map(|()| Err(self.timed_out()))
        })
        .await
    }

    fn timer(&self) -> Result<Sleep, Rejection> {
        let left = self.timeout.saturating_sub((self.elapsed)());
        // `sleep` panics in a runtime without timers.
        let timer = Handle::try_current().ok().and_then(|_| catch_panics(|| sleep(left)));
        timer.ok_or_else(|| {
            Rejection::new(
                RejectionKind::Misconfigured,
                "waiting for a body needs a tokio runtime with timers (enable_all), which keep its deadline",
            )
        })
    }

    fn timed_out(&self) -> Rejection {
        let seconds = self.timeout.as_secs_f32();
        let detail =
            format!("the body was not there within {seconds} s of the request's head: sign again, and send it faster");
        Rejection::new(RejectionKind::BodyTimeout, detail)
    }
}
