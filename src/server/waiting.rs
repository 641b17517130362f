//! Whether time may have passed: where none has, the clock need not be read again.

use std::{future::poll_fn, pin::pin};

/// Awaits, and notes if what was awaited was not there at once.
pub(super) async fn noting<F: Future>(waited: &mut bool, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| {
        let poll = future.as_mut().poll(context);
        *waited |= poll.is_pending();
        poll
    })
    .await
}
