//! Claims that come at the same time go out together: a command each, in one piece.
//!
//! A busy service makes many claims between two turns of the connection. To hand it each by itself costs both ends more
//! than the claim.

use std::{
    iter, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{Cmd, Value};
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    task::yield_now,
    time::timeout,
};

use super::{connect::Connect, error::ClaimError, link::Link};

pub(super) struct Outbox<C: Connect> {
    link: Arc<Link<C>>,
    deadline: Duration,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    letters: Vec<Letter>,
    /// A task is on its way to take them.
    is_collected: bool,
}

struct Letter {
    command: Cmd,
    reply: Reply,
}

/// Where the answer goes. Until then the claim counts as in flight, whether or not somebody still waits for it.
struct Reply {
    answer: oneshot::Sender<Answer>,
    _permit: OwnedSemaphorePermit,
}

type Answer = Result<Value, ClaimError>;

impl<C: Connect> Outbox<C> {
    pub(super) fn new(link: Arc<Link<C>>, deadline: Duration) -> Arc<Self> {
        Arc::new(Self { link, deadline, waiting: Mutex::default() })
    }

    pub(super) fn link(&self) -> &Arc<Link<C>> {
        &self.link
    }

    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Sends a command together with others, and has its answer before the deadline.
    pub(super) async fn send(self: &Arc<Self>, command: Cmd, permit: OwnedSemaphorePermit) -> Answer {
        let (answer, answered) = oneshot::channel();
        let is_first = self.put(Letter { command, reply: Reply { answer, _permit: permit } });
        if is_first {
            tokio::spawn(Round { outbox: self.clone(), is_over: false }.go());
        }
        // The task that would answer is gone with its runtime.
        answered.await.unwrap_or(Err(ClaimError::Deadline(self.deadline)))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody is on the way to collect it.
    fn put(&self, letter: Letter) -> bool {
        let mut waiting = self.waiting();
        waiting.letters.push(letter);
        !mem::replace(&mut waiting.is_collected, true)
    }

    fn collect(&self) -> Vec<Letter> {
        let mut waiting = self.waiting();
        waiting.is_collected = false;
        mem::take(&mut waiting.letters)
    }

    async fn deliver(self: Arc<Self>, letters: Vec<Letter>) {
        let (commands, replies): (Vec<_>, Vec<_>) =
            letters.into_iter().map(|letter| (letter.command, letter.reply)).unzip();
        let answers = match timeout(self.deadline, self.link.exchange(commands)).await {
            Ok(Ok(answers)) if answers.len() == replies.len() => answers,
            // Nobody can tell whose answer is whose.
            Ok(Ok(_)) => return answer_all(replies, || Err(ClaimError::Unexpected)),
            Ok(Err(error)) => return answer_all(replies, || Err(error.clone())),
            Err(_) => return answer_all(replies, || Err(ClaimError::Deadline(self.deadline))),
        };
        let mut answers = answers.into_iter().map(|answer| answer.map_err(ClaimError::Refused));
        answer_all(replies, || answers.next().unwrap_or(Err(ClaimError::Unexpected)));
    }
}

fn answer_all(replies: Vec<Reply>, answers: impl FnMut() -> Answer) {
    for (reply, answer) in replies.into_iter().zip(iter::repeat_with(answers)) {
        // Whoever does not wait any more does not want to know.
        let _ = reply.answer.send(answer);
    }
}

/// Takes all that waits, when its turn has come.
struct Round<C: Connect> {
    outbox: Arc<Outbox<C>>,
    is_over: bool,
}

impl<C: Connect> Round<C> {
    async fn go(mut self) {
        // Whoever else is ready may claim first.
        yield_now().await;
        let mut letters = self.outbox.collect();
        self.is_over = true;
        letters.retain(|letter| !letter.reply.answer.is_closed());
        if C::MENDS_ITSELF {
            // Of many servers each may take its time.
            for letter in letters {
                tokio::spawn(self.outbox.clone().deliver(vec![letter]));
            }
        } else if !letters.is_empty() {
            self.outbox.clone().deliver(letters).await;
        }
    }
}

/// A runtime that ends takes the round with it, and the next claim begins another one.
impl<C: Connect> Drop for Round<C> {
    fn drop(&mut self) {
        if !self.is_over {
            self.outbox.collect();
        }
    }
}
