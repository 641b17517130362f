//! Claims that come at the same time go out together: a command each, in one piece.
//!
//! A busy service makes many claims between two turns of the connection. To hand it each by itself costs both ends more
//! than the claim.

use std::{
    future::poll_fn,
    iter, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use redis::{Cmd, Value};
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::{Instant, timeout, timeout_at},
};

use super::{connect::Connect, error::ClaimError, link::Link};

/// Whoever finds the last round this late begins another: its runtime may be busy, or stand still.
const PATIENCE: Duration = Duration::from_millis(20);

/// So many go out without waiting for more, for Redis to be at work while others are still on their way here.
const PIECE: usize = 32;

pub(super) struct Outbox<C: Connect> {
    link: Arc<Link<C>>,
    deadline: Duration,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    letters: Vec<Letter>,
    /// When a task began that is to take them.
    round: Option<Instant>,
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
    pub(super) fn new(link: Arc<Link<C>>, deadline: Duration) -> Arc<Self> {
        Arc::new(Self { link, deadline, waiting: Mutex::default() })
    }

    pub(super) fn link(&self) -> &Arc<Link<C>> {
        &self.link
    }

    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Sends a command together with others. The future has its answer before the deadline, and does not hold the command.
    pub(super) fn send(
        self: &Arc<Self>,
        command: Cmd,
        permit: OwnedSemaphorePermit,
    ) -> impl Future<Output = Answer> + Send + use<C> {
        let (answer, answered) = oneshot::channel();
        let now = Instant::now();
        match self.put(Letter { command, reply: Reply { answer, _permit: permit } }, now) {
            Collector::Begun => {}
            Collector::ToBegin => drop(tokio::spawn(Round { outbox: self.clone(), is_over: false }.go())),
            Collector::Piece => drop(tokio::spawn(self.clone().deliver_piece())),
        }
        // Here too, for the round is somebody else's: it may have a runtime that does not get on.
        let deadline = self.deadline;
        async move {
            let answer = match now.checked_add(deadline) {
                Some(end) => timeout_at(end, answered).await,
                None => Ok(answered.await),
            };
            match answer {
                Ok(answer) => answer.unwrap_or(Err(ClaimError::Abandoned)),
                Err(_) => Err(ClaimError::Deadline(deadline)),
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, letter: Letter, now: Instant) -> Collector {
        let mut waiting = self.waiting();
        waiting.letters.push(letter);
        if waiting.round.is_none_or(|began| now.saturating_duration_since(began) >= PATIENCE) {
            waiting.round = Some(now);
            return Collector::ToBegin;
        }
        if waiting.letters.len().is_multiple_of(PIECE) { Collector::Piece } else { Collector::Begun }
    }

    fn collect(&self) -> Vec<Letter> {
        let mut waiting = self.waiting();
        waiting.round = None;
        // Room for the next ones stays.
        waiting.letters.drain(..).collect()
    }

    /// What is full stays where any round finds it until this runs: here too the runtime may be one that does not get on.
    async fn deliver_piece(self: Arc<Self>) {
        let letters = {
            let waiting = &mut self.waiting().letters;
            let length = waiting.len().min(PIECE);
            waiting.drain(..length).collect()
        };
        self.deliver(letters).await;
    }

    async fn deliver(self: Arc<Self>, mut letters: Vec<Letter>) {
        letters.retain(|letter| !letter.reply.answer.is_closed());
        if C::MENDS_ITSELF {
            // Of many servers each may take its time.
            for letter in letters {
                tokio::spawn(self.clone().deliver_together(vec![letter]));
            }
        } else if !letters.is_empty() {
            self.deliver_together(letters).await;
        }
    }

    async fn deliver_together(self: Arc<Self>, letters: Vec<Letter>) {
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
        let_others_go_first().await;
        let letters = self.outbox.collect();
        self.is_over = true;
        self.outbox.clone().deliver(letters).await;
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

/// A runtime that ends takes the round with it, and the next claim begins another one.
impl<C: Connect> Drop for Round<C> {
    fn drop(&mut self) {
        if !self.is_over {
            self.outbox.collect();
        }
    }
}
