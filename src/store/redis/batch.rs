//! Commands that are sent and answered together.

use std::{iter, mem, sync::Arc};

use redis::{Pipeline, Value};
use tokio::time::{Instant, timeout_at};

use super::{
    batcher::Batcher,
    connect::Connect,
    error::CommandError,
    places::Place,
    queue::{PendingCommand, Reply},
};
use crate::store::StoreError;

pub(super) struct Batch<C: Connect> {
    batcher: Arc<Batcher<C>>,
    /// The places of the commands. They count as in flight until they are released, at the latest on drop.
    places: Vec<Place>,
    /// The time at which the first command began to wait.
    since: Instant,
    commands: Pipeline,
    replies: Vec<Reply>,
    left_out: Vec<PendingCommand>,
}

impl<C: Connect> Batch<C> {
    pub(super) fn new(batcher: Arc<Batcher<C>>, pending: impl Iterator<Item = PendingCommand>) -> Self {
        let (now, (_, at_most)) = (Instant::now(), pending.size_hint());
        let at_most = at_most.unwrap_or(0);
        let (mut commands, mut replies) = (Pipeline::with_capacity(at_most), Vec::with_capacity(at_most));
        let (mut since, mut left_out, mut places) = (None, Vec::new(), Vec::with_capacity(at_most));
        for next in pending {
            places.push(next.place);
            if next.is_expired(now, batcher.deadline) {
                left_out.push(next);
                continue;
            }
            since.get_or_insert(next.since);
            commands.add_command(next.command);
            replies.push(next.reply);
        }
        Self { batcher, places, since: since.unwrap_or(now), commands, replies, left_out }
    }

    pub(super) async fn deliver(mut self) {
        let deadline = self.batcher.deadline;
        self.left_out.drain(..).for_each(|command| command.refuse(CommandError::Deadline(deadline)));
        if self.replies.is_empty() {
            return;
        }
        let exchange = self.batcher.connections.exchange(&self.commands);
        let answers = match self.since.checked_add(deadline) {
            Some(end) => timeout_at(end, exchange).await,
            None => Ok(exchange.await),
        };
        let answers = match answers {
            Ok(Ok(answers)) if answers.len() == self.replies.len() => answers,
            // The answers cannot be matched to the commands.
            Ok(Ok(_)) => return self.answer(|| Err(CommandError::Unexpected)),
            Ok(Err(error)) => return self.answer(|| Err(error.clone())),
            Err(_) => return self.answer(|| Err(CommandError::Deadline(deadline))),
        };
        let mut answers = answers.into_iter().map(|answer| answer.map_err(CommandError::Refused));
        self.answer(|| answers.next().unwrap_or(Err(CommandError::Unexpected)));
    }

    fn answer(&mut self, answers: impl FnMut() -> Result<Value, CommandError>) {
        // Release the places before replying: a woken caller may send another command at once.
        self.release();
        for (reply, answer) in self.replies.drain(..).zip(iter::repeat_with(answers)) {
            // Ignore callers that have stopped waiting.
            let _ = reply.send(answer.map_err(StoreError::from));
        }
    }

    fn release(&mut self) {
        self.batcher.release(mem::take(&mut self.places));
    }
}

impl<C: Connect> Drop for Batch<C> {
    fn drop(&mut self) {
        self.release();
    }
}
