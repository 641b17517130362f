//! The tasks in which submissions run.

use std::sync::Arc;

use tokio::{runtime::Handle, sync::watch};

use crate::{
    event,
    protocol::{Rejection, RejectionKind},
};

/// Counts the tasks of a layer and its clones.
#[derive(Clone, Debug)]
pub(super) struct Running(Arc<watch::Sender<usize>>);

impl Running {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    /// Runs a future in a task of its own, so that it is not cancelled.
    ///
    /// # Errors
    ///
    /// There is no tokio runtime.
    pub(super) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> Result<(), Rejection> {
        let Ok(runtime) = Handle::try_current() else {
            let detail = "a SubmitOnceLayer needs a tokio runtime: call the service in one";
            return Err(Rejection::new(RejectionKind::Misconfigured, detail));
        };
        let counted = Counted::new(self.0.clone());
        runtime.spawn(event::in_current_span(async move {
            future.await;
            drop(counted);
        }));
        Ok(())
    }

    /// Waits until no task is left.
    pub(super) async fn idle(&self) {
        // The sender is not dropped before `self`.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

struct Counted(Arc<watch::Sender<usize>>);

impl Counted {
    fn new(count: Arc<watch::Sender<usize>>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
