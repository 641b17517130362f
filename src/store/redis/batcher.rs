//! Sends concurrent commands in batches. A claim of a nonce is one command, and so is each use of a token.
//!
//! A busy service makes many commands between two polls of the connection. Sending each separately costs the client and
//! the server more than the command itself.

use std::{
    future::poll_fn,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use redis::Cmd;
use tokio::{
    runtime::{Handle, Id},
    sync::oneshot,
    time::Instant,
};

use super::{
    batch::Batch,
    connect::Connect,
    connections::ConnectionManager,
    error::CommandError,
    places::{Payer, Place, Places},
    queue::{Answer, BATCH_SIZE, Flush, PendingCommand, Reply, Waiting},
};

pub(super) struct Batcher<C: Connect> {
    pub(super) connections: Arc<ConnectionManager<C>>,
    pub(super) deadline: Duration,
    /// The places of commands that wait or were sent, including commands whose callers have stopped waiting.
    places: Places,
    waiting: Mutex<Waiting>,
}

impl<C: Connect> Batcher<C> {
    pub(super) fn new(connections: Arc<ConnectionManager<C>>, deadline: Duration, max_in_flight: usize) -> Arc<Self> {
        Arc::new(Self { connections, deadline, places: Places::new(max_in_flight), waiting: Mutex::default() })
    }

    pub(super) fn max_in_flight(&self) -> usize {
        self.places.capacity()
    }

    /// Queues a command for the next batch. The future does not contain the command. It resolves by the deadline,
    /// unless the runtime of this call is blocked. It has no timer of its own, because all commands would contend for
    /// the timer's locks.
    pub(super) fn send(
        self: &Arc<Self>,
        command: Cmd,
        payer: Payer<'_>,
    ) -> impl Future<Output = Answer> + Send + use<C> {
        let (reply, answer) = oneshot::channel();
        let posted = self.post(command, reply, payer);
        async move {
            posted?;
            answer.await.unwrap_or_else(|_| Err(CommandError::Cancelled.into()))
        }
    }

    fn post(self: &Arc<Self>, command: Cmd, reply: Reply, payer: Payer<'_>) -> Result<(), CommandError> {
        let runtime = Handle::try_current().map_err(|_| CommandError::NoRuntime)?;
        let (id, since) = (runtime.id(), Instant::now());
        let place = self.places.reserve(payer).or_else(|| {
            self.make_room(since);
            self.places.reserve(payer)
        });
        let place = place.ok_or(CommandError::Busy(self.max_in_flight()))?;
        let flush = self.waiting().put(PendingCommand { command, reply, since, place }, id);
        match flush {
            Flush::Underway => {}
            Flush::ToBegin => {
                drop(runtime.spawn(FlushTask { batcher: self.clone(), runtime: id, is_over: false }.go()));
            }
            Flush::Batch => drop(runtime.spawn(self.clone().deliver_batch(id))),
        }
        Ok(())
    }

    /// Fails expired commands and releases their places.
    fn make_room(&self, now: Instant) {
        let gone = self.waiting().take_expired(now, self.deadline);
        for command in gone {
            self.release([command.place]);
            command.refuse(CommandError::Deadline(self.deadline));
        }
    }

    /// Releases the places of commands that were answered or abandoned.
    pub(super) fn release(&self, places: impl IntoIterator<Item = Place>) {
        places.into_iter().for_each(|place| self.places.release(place));
    }

    pub(super) fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next batch, and returns whether other commands are left. Replies are sent after unlocking, because a
    /// woken caller may re-enter. A batch has the time that its oldest command has left, which costs each other command
    /// at most an eighth of its deadline.
    fn collect(self: &Arc<Self>, runtime: Id, at_most: usize) -> Option<(Batch<C>, bool)> {
        // In a cluster one slow node must not delay commands for other nodes.
        let at_most = if C::RECONNECTS { 1 } else { at_most };
        let mut waiting = self.waiting();
        let (commands, are_others_left) = waiting.take(runtime, at_most, self.deadline / 8)?;
        Some((Batch::new(self.clone(), commands), are_others_left))
    }

    /// Sends one full batch. The commands stay in the queue until this task runs, so that any flush can send them if this
    /// thread is busy.
    async fn deliver_batch(self: Arc<Self>, runtime: Id) {
        if let Some((batch, _)) = self.collect(runtime, BATCH_SIZE) {
            batch.deliver().await;
        }
    }

    async fn deliver_all(self: Arc<Self>, runtime: Id) {
        while let Some((batch, are_others_left)) = self.collect(runtime, usize::MAX) {
            if !are_others_left {
                return batch.deliver().await;
            }
            tokio::spawn(batch.deliver());
        }
    }
}

/// Sends all waiting commands of a runtime.
struct FlushTask<C: Connect> {
    batcher: Arc<Batcher<C>>,
    runtime: Id,
    is_over: bool,
}

impl<C: Connect> FlushTask<C> {
    async fn go(mut self) {
        self.batcher.waiting().flush_has_started(self.runtime);
        yield_once().await;
        self.end();
        self.batcher.clone().deliver_all(self.runtime).await;
    }

    fn end(&mut self) {
        self.is_over = true;
        self.batcher.waiting().flush_is_over(self.runtime);
    }
}

/// If the runtime drops the task, the commands in its queue fail too.
impl<C: Connect> Drop for FlushTask<C> {
    fn drop(&mut self) {
        if !self.is_over {
            self.end();
            while self.batcher.collect(self.runtime, usize::MAX).is_some() {}
        }
    }
}

/// Lets other ready tasks queue their commands first. Does not use tokio's `yield_now`, which returns late on a busy runtime.
async fn yield_once() {
    let mut has_waited = false;
    poll_fn(|context| {
        if mem::replace(&mut has_waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
