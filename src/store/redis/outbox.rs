//! Claims that come at the same time go out together: a command each, in one piece.
//!
//! A busy service makes many claims between two turns of the connection. To hand it each by itself costs both ends more
//! than the claim.

use std::{
    collections::VecDeque,
    future::poll_fn,
    iter, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use redis::{Cmd, Pipeline, RedisResult, Value};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout, timeout_at},
};

use super::{connect::Connect, error::ClaimError, link::Link};
use crate::{protocol::Occurrence, store::StoreError};

/// Whoever finds the last round this late begins another: its runtime may be busy, or stand still.
const PATIENCE: Duration = Duration::from_millis(20);

/// So many go out without waiting for more, for Redis to be at work while others are still on their way here.
const PIECE: usize = 32;

pub(super) struct Outbox<C: Connect> {
    pub(super) link: Arc<Link<C>>,
    pub(super) deadline: Duration,
    pub(super) most_in_flight: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    letters: VecDeque<Letter>,
    /// When a task began that is to take them.
    round: Option<Instant>,
    /// They and those that are on their way, whether or not somebody still waits for them.
    in_flight: usize,
}

struct Letter {
    command: Cmd,
    reply: Reply,
}

/// Where the answer goes.
type Reply = oneshot::Sender<Answer>;

/// Small, for it mostly comes from another core.
type Answer = Result<Occurrence, StoreError>;

/// Who takes what waits.
enum Collector {
    /// A round that has begun.
    Begun,
    /// A round that has to begin.
    ToBegin,
    /// A task for a piece that is full.
    Piece,
}

impl<C: Connect> Outbox<C> {
    pub(super) fn new(link: Arc<Link<C>>, deadline: Duration, most_in_flight: usize) -> Arc<Self> {
        Arc::new(Self { link, deadline, most_in_flight, waiting: Mutex::default() })
    }

    /// Sends a command together with others. The future has its answer before the deadline, and does not hold the command.
    pub(super) fn send(self: &Arc<Self>, command: Cmd) -> impl Future<Output = Answer> + Send + use<C> {
        let (reply, answered) = oneshot::channel();
        let now = Instant::now();
        let collector = self.put(Letter { command, reply }, now);
        match collector {
            Ok(Collector::Begun) | Err(_) => {}
            Ok(Collector::ToBegin) => drop(tokio::spawn(Round { outbox: self.clone(), is_over: false }.go())),
            Ok(Collector::Piece) => drop(tokio::spawn(self.clone().deliver(PIECE))),
        }
        // Here too, for the round is somebody else's: it may have a runtime that does not get on.
        let deadline = self.deadline;
        async move {
            collector?;
            let answer = match now.checked_add(deadline) {
                Some(end) => timeout_at(end, answered).await,
                None => Ok(answered.await),
            };
            match answer {
                Ok(answer) => answer.unwrap_or_else(|_| Err(ClaimError::Abandoned.into())),
                Err(_) => Err(ClaimError::Deadline(deadline).into()),
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, letter: Letter, now: Instant) -> Result<Collector, ClaimError> {
        let mut waiting = self.waiting();
        if waiting.in_flight >= self.most_in_flight {
            return Err(ClaimError::Busy(self.most_in_flight));
        }
        waiting.in_flight += 1;
        waiting.letters.push_back(letter);
        if waiting.round.is_none_or(|began| now.saturating_duration_since(began) >= PATIENCE) {
            waiting.round = Some(now);
            return Ok(Collector::ToBegin);
        }
        Ok(if waiting.letters.len().is_multiple_of(PIECE) { Collector::Piece } else { Collector::Begun })
    }

    /// The first `at_most` so many, but for those that nobody waits for any more.
    fn collect(self: &Arc<Self>, at_most: usize) -> Option<Piece<C>> {
        let mut waiting = self.waiting();
        let count = waiting.letters.len().min(at_most);
        let (mut commands, mut replies) = (Pipeline::with_capacity(count), Vec::with_capacity(count));
        for Letter { command, reply } in waiting.letters.drain(..count).filter(|letter| !letter.reply.is_closed()) {
            commands.add_command(command);
            replies.push(reply);
        }
        (count > 0).then(|| Piece { outbox: self.clone(), count, commands, replies })
    }

    /// What is full stays where any round finds it until this runs: here too the runtime may be one that does not get on.
    async fn deliver(self: Arc<Self>, at_most: usize) {
        if C::MENDS_ITSELF {
            // Of many servers each may take its time.
            iter::from_fn(|| self.collect(1)).take(at_most).for_each(|piece| drop(tokio::spawn(piece.deliver())));
        } else if let Some(piece) = self.collect(at_most) {
            piece.deliver().await;
        }
    }
}

/// Claims that go out together.
struct Piece<C: Connect> {
    outbox: Arc<Outbox<C>>,
    /// So many count as in flight until it is dropped, if not before.
    count: usize,
    commands: Pipeline,
    replies: Vec<Reply>,
}

impl<C: Connect> Piece<C> {
    async fn deliver(mut self) {
        if self.replies.is_empty() {
            return;
        }
        let deadline = self.outbox.deadline;
        let answers = match timeout(deadline, self.outbox.link.exchange(&self.commands)).await {
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
        self.outbox.waiting().in_flight -= mem::take(&mut self.count);
    }
}

impl<C: Connect> Drop for Piece<C> {
    fn drop(&mut self) {
        if self.count > 0 {
            self.land();
        }
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

/// Takes all that waits, when its turn has come.
struct Round<C: Connect> {
    outbox: Arc<Outbox<C>>,
    is_over: bool,
}

impl<C: Connect> Round<C> {
    async fn go(mut self) {
        let_others_go_first().await;
        self.end();
        self.outbox.clone().deliver(usize::MAX).await;
    }

    /// The next claim begins another one.
    fn end(&mut self) {
        self.is_over = true;
        self.outbox.waiting().round = None;
    }
}

/// Whoever else is ready may claim first. Not tokio's `yield_now`, after which a busy runtime comes back late.
async fn let_others_go_first() {
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

/// A runtime that ends takes the round with it, and all that waited for it.
impl<C: Connect> Drop for Round<C> {
    fn drop(&mut self) {
        if !self.is_over {
            self.end();
            drop(self.outbox.collect(usize::MAX));
        }
    }
}
