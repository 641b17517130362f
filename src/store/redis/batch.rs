//! Claims that are sent and answered together.

use std::{iter, mem, sync::Arc};

use redis::{Pipeline, RedisResult, Value};
use tokio::time::{Instant, timeout_at};

use super::{
    batcher::Batcher,
    connect::Connect,
    error::ClaimError,
    queue::{PendingClaim, Reply},
};
use crate::{
    protocol::NonceStatus,
    store::{StoreError, holders::HolderId},
};

pub(super) struct Batch<C: Connect> {
    batcher: Arc<Batcher<C>>,
    /// The places of the claims. They count as in flight until they are released, at the latest on drop.
    places: Vec<HolderId>,
    /// The time at which the first claim began to wait.
    since: Instant,
    commands: Pipeline,
    replies: Vec<Reply>,
    left_out: Vec<PendingClaim>,
}

impl<C: Connect> Batch<C> {
    pub(super) fn new(batcher: Arc<Batcher<C>>, claims: impl Iterator<Item = PendingClaim>) -> Self {
        let (now, (_, at_most)) = (Instant::now(), claims.size_hint());
        let at_most = at_most.unwrap_or(0);
        let (mut commands, mut replies) = (Pipeline::with_capacity(at_most), Vec::with_capacity(at_most));
        let (mut since, mut left_out, mut places) = (None, Vec::new(), Vec::with_capacity(at_most));
        for claim in claims {
            places.push(claim.place);
            if claim.is_expired(now, batcher.deadline) {
                left_out.push(claim);
                continue;
            }
            since.get_or_insert(claim.since);
            commands.add_command(claim.command);
            replies.push(claim.reply);
        }
        Self { batcher, places, since: since.unwrap_or(now), commands, replies, left_out }
    }

    pub(super) async fn deliver(mut self) {
        let deadline = self.batcher.deadline;
        self.left_out.drain(..).for_each(|claim| claim.refuse(ClaimError::Deadline(deadline)));
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
            // The answers cannot be matched to the claims.
            Ok(Ok(_)) => return self.answer(|| Err(ClaimError::Unexpected)),
            Ok(Err(error)) => return self.answer(|| Err(error.clone())),
            Err(_) => return self.answer(|| Err(ClaimError::Deadline(deadline))),
        };
        let mut answers = answers.into_iter().map(status);
        self.answer(|| answers.next().unwrap_or(Err(ClaimError::Unexpected)));
    }

    fn answer(&mut self, answers: impl FnMut() -> Result<NonceStatus, ClaimError>) {
        // Release the places before replying: a woken caller may claim again at once.
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

/// Converts the reply to `SET key 1 NX`.
fn status(answer: RedisResult<Value>) -> Result<NonceStatus, ClaimError> {
    match answer.map_err(ClaimError::Refused)? {
        Value::Okay => Ok(NonceStatus::New),
        Value::Nil => Ok(NonceStatus::Replayed),
        _ => Err(ClaimError::Unexpected),
    }
}
