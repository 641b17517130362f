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
    runtime::{Handle, Id},
    sync::oneshot,
    time::{Instant, timeout_at},
};

use super::{connect::Connect, error::ClaimError, link::Link};
use crate::{protocol::Occurrence, store::StoreError};

/// Whoever finds the last round this late begins another: the thread that has it may be kept busy by somebody.
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
    rooms: Vec<Room>,
    /// All that wait or are on their way, whether or not somebody still waits for them.
    in_flight: usize,
}

/// What waits in one runtime, and goes out by a task of it: another one may stand still, and its clock with it.
struct Room {
    runtime: Id,
    letters: VecDeque<Letter>,
    /// When a task began that is to take them.
    round: Option<Instant>,
}

struct Letter {
    command: Cmd,
    reply: Reply,
    since: Instant,
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
        let (reply, answer) = oneshot::channel();
        let posted = self.post(Letter { command, reply, since: Instant::now() });
        async move {
            posted?;
            answer.await.unwrap_or_else(|_| Err(ClaimError::Abandoned.into()))
        }
    }

    fn post(self: &Arc<Self>, letter: Letter) -> Result<(), ClaimError> {
        let runtime = Handle::try_current().map_err(|_| ClaimError::NoRuntime)?;
        let id = runtime.id();
        let collector = self.waiting().put(letter, id, self.most_in_flight)?;
        match collector {
            Collector::Begun => {}
            Collector::ToBegin => {
                drop(runtime.spawn(Round { outbox: self.clone(), runtime: id, is_over: false }.go()));
            }
            Collector::Piece => drop(runtime.spawn(self.clone().deliver(id, PIECE))),
        }
        Ok(())
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first `at_most` so many, but for those that nobody waits for any more, or that have waited too long.
    fn collect(self: &Arc<Self>, runtime: Id, at_most: usize) -> Option<Piece<C>> {
        let mut waiting = self.waiting();
        let letters = &mut waiting.room(runtime).letters;
        let count = letters.len().min(at_most);
        if count == 0 {
            return None;
        }
        let (now, mut since) = (Instant::now(), None);
        let (mut commands, mut replies) = (Pipeline::with_capacity(count), Vec::with_capacity(count));
        for letter in letters.drain(..count).filter(|letter| !letter.reply.is_closed()) {
            if now.saturating_duration_since(letter.since) >= self.deadline {
                let _ = letter.reply.send(Err(ClaimError::Deadline(self.deadline).into()));
                continue;
            }
            since.get_or_insert(letter.since);
            commands.add_command(letter.command);
            replies.push(letter.reply);
        }
        Some(Piece { outbox: self.clone(), count, since: since.unwrap_or(now), commands, replies })
    }

    /// What is full stays where any round finds it until this runs: a busy thread may hold this up too.
    async fn deliver(self: Arc<Self>, runtime: Id, at_most: usize) {
        if C::MENDS_ITSELF {
            // Of many servers each may take its time.
            let pieces = iter::from_fn(|| self.collect(runtime, 1)).take(at_most);
            pieces.for_each(|piece| drop(tokio::spawn(piece.deliver())));
        } else if let Some(piece) = self.collect(runtime, at_most) {
            piece.deliver().await;
        }
    }
}

impl Waiting {
    fn put(&mut self, letter: Letter, runtime: Id, most_in_flight: usize) -> Result<Collector, ClaimError> {
        if self.in_flight >= most_in_flight {
            return Err(ClaimError::Busy(most_in_flight));
        }
        self.in_flight += 1;
        let (room, now) = (self.room(runtime), letter.since);
        room.letters.push_back(letter);
        if room.round.is_none_or(|began| now.saturating_duration_since(began) >= PATIENCE) {
            room.round = Some(now);
            return Ok(Collector::ToBegin);
        }
        Ok(if room.letters.len().is_multiple_of(PIECE) { Collector::Piece } else { Collector::Begun })
    }

    fn room(&mut self, runtime: Id) -> &mut Room {
        let known = self.rooms.iter().position(|room| room.runtime == runtime);
        let place = known.unwrap_or_else(|| {
            // Those of runtimes that have ended, among others.
            self.rooms.retain(|room| room.round.is_some() || !room.letters.is_empty());
            self.rooms.push(Room { runtime, letters: VecDeque::new(), round: None });
            self.rooms.len() - 1
        });
        &mut self.rooms[place]
    }
}

/// Claims that go out together.
struct Piece<C: Connect> {
    outbox: Arc<Outbox<C>>,
    /// So many count as in flight until it is dropped, if not before.
    count: usize,
    /// When the first of them began to wait.
    since: Instant,
    commands: Pipeline,
    replies: Vec<Reply>,
}

impl<C: Connect> Piece<C> {
    async fn deliver(mut self) {
        if self.replies.is_empty() {
            return;
        }
        let deadline = self.outbox.deadline;
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

/// Takes all that waits in a runtime, when its turn has come.
struct Round<C: Connect> {
    outbox: Arc<Outbox<C>>,
    runtime: Id,
    is_over: bool,
}

impl<C: Connect> Round<C> {
    async fn go(mut self) {
        let_others_go_first().await;
        self.end();
        self.outbox.clone().deliver(self.runtime, usize::MAX).await;
    }

    /// The next claim begins another one.
    fn end(&mut self) {
        self.is_over = true;
        self.outbox.waiting().room(self.runtime).round = None;
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
            drop(self.outbox.collect(self.runtime, usize::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn rooms_of_runtimes_that_have_ended_are_given_up() -> std::io::Result<()> {
        let mut waiting = Waiting::default();
        for _ in 0..10 {
            waiting.room(Builder::new_current_thread().build()?.handle().id());
        }
        assert_eq!(waiting.rooms.len(), 1);
        Ok(())
    }
}
