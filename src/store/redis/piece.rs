//! Claims that go out together, and come back together.

use std::{iter, mem, sync::Arc};

use redis::{Pipeline, RedisResult, Value};
use tokio::time::{Instant, timeout_at};

use super::{
    connect::Connect,
    error::ClaimError,
    outbox::Outbox,
    waiting::{Letter, Reply},
};
use crate::{
    protocol::Occurrence,
    store::{StoreError, holders::HolderId},
};

pub(super) struct Piece<C: Connect> {
    outbox: Arc<Outbox<C>>,
    /// Those that count as in flight until it is dropped, if not before.
    places: Vec<HolderId>,
    /// When the first of them began to wait.
    since: Instant,
    commands: Pipeline,
    replies: Vec<Reply>,
    left_out: Vec<Letter>,
}

impl<C: Connect> Piece<C> {
    pub(super) fn new(outbox: Arc<Outbox<C>>, letters: impl Iterator<Item = Letter>) -> Self {
        let (now, (_, at_most)) = (Instant::now(), letters.size_hint());
        let at_most = at_most.unwrap_or(0);
        let (mut commands, mut replies) = (Pipeline::with_capacity(at_most), Vec::with_capacity(at_most));
        let (mut since, mut left_out, mut places) = (None, Vec::new(), Vec::with_capacity(at_most));
        for letter in letters {
            places.push(letter.place);
            if letter.is_in_vain(now, outbox.deadline) {
                left_out.push(letter);
                continue;
            }
            since.get_or_insert(letter.since);
            commands.add_command(letter.command);
            replies.push(letter.reply);
        }
        Self { outbox, places, since: since.unwrap_or(now), commands, replies, left_out }
    }

    pub(super) async fn deliver(mut self) {
        let deadline = self.outbox.deadline;
        self.left_out.drain(..).for_each(|letter| letter.refuse(ClaimError::Deadline(deadline)));
        if self.replies.is_empty() {
            return;
        }
        let exchange = self.outbox.link.exchange(&self.commands);
        let answers = match self.since.checked_add(deadline) {
            Some(end) => timeout_at(end, exchange).await,
            None => Ok(exchange.await),
        };
        let answers = match answers {
            Ok(Ok(answers)) if answers.len() == self.replies.len() => answers,
            // Nobody can tell whose answer is whose.
            Ok(Ok(_)) => return self.answer(|| Err(ClaimError::Unexpected)),
            Ok(Err(error)) => return self.answer(|| Err(error.clone())),
            Err(_) => return self.answer(|| Err(ClaimError::Deadline(deadline))),
        };
        let mut answers = answers.into_iter().map(occurrence);
        self.answer(|| answers.next().unwrap_or(Err(ClaimError::Unexpected)));
    }

    fn answer(&mut self, answers: impl FnMut() -> Result<Occurrence, ClaimError>) {
        // First, for whoever is told comes again right away.
        self.land();
        for (reply, answer) in self.replies.drain(..).zip(iter::repeat_with(answers)) {
            // Whoever does not wait any more does not want to know.
            let _ = reply.send(answer.map_err(StoreError::from));
        }
    }

    fn land(&mut self) {
        self.outbox.land(mem::take(&mut self.places));
    }
}

impl<C: Connect> Drop for Piece<C> {
    fn drop(&mut self) {
        self.land();
    }
}

/// By what Redis says to `SET key 1 NX`.
fn occurrence(answer: RedisResult<Value>) -> Result<Occurrence, ClaimError> {
    match answer.map_err(ClaimError::Refused)? {
        Value::Okay => Ok(Occurrence::First),
        Value::Nil => Ok(Occurrence::Repeated),
        _ => Err(ClaimError::Unexpected),
    }
}
