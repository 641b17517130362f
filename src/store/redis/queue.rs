//! Queues of commands that wait to be sent, one for each tokio runtime.

use std::{
    collections::VecDeque,
    mem,
    thread::{self, ThreadId},
    time::Duration,
};

use redis::{Cmd, Value};
use tokio::{runtime::Id, sync::oneshot, time::Instant};

use super::{error::CommandError, places::Place};
use crate::store::StoreError;

/// A flush older than this is considered lost, and the next command starts a new one. Also the minimum interval between
/// sweeps.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(20);

/// The size of a batch that is sent without waiting for more commands. Redis then works while further commands arrive.
pub(super) const BATCH_SIZE: usize = 32;

pub(super) struct PendingCommand {
    pub(super) command: Cmd,
    pub(super) reply: Reply,
    pub(super) since: Instant,
    /// Its place among the commands in flight.
    pub(super) place: Place,
}

/// Sends the answer to the caller.
pub(super) type Reply = oneshot::Sender<Answer>;

/// The answer to a command. It is small, because it usually comes from another core.
pub(super) type Answer = Result<Value, StoreError>;

#[derive(Default)]
pub(super) struct Waiting {
    queues: Vec<RuntimeQueue>,
    swept: Option<Instant>,
}

/// The waiting commands of one runtime. A task of that runtime sends them, because another runtime and its clock may be
/// blocked.
struct RuntimeQueue {
    runtime: Id,
    commands: VecDeque<PendingCommand>,
    flush: Option<ActiveFlush>,
}

/// The task that will send all commands of a queue.
struct ActiveFlush {
    at: Instant,
    by: ThreadId,
    /// Set on the first poll. Until then the task may sit in the spawning worker's LIFO slot, where only that thread
    /// runs it.
    has_started: bool,
}

/// How a queued command is sent.
pub(super) enum Flush {
    /// The active flush sends it.
    Underway,
    /// The caller must start a flush.
    ToBegin,
    /// The caller must start a task for a full batch.
    Batch,
}

impl PendingCommand {
    /// Fails the command, if its caller still waits.
    pub(super) fn refuse(self, error: CommandError) {
        let _ = self.reply.send(Err(error.into()));
    }

    /// Returns whether the caller has stopped waiting, or the deadline has passed.
    pub(super) fn is_expired(&self, now: Instant, deadline: Duration) -> bool {
        self.reply.is_closed() || now.saturating_duration_since(self.since) >= deadline
    }
}

impl Waiting {
    pub(super) fn put(&mut self, command: PendingCommand, runtime: Id) -> Flush {
        let (queue, now) = (self.queue_or_new(runtime), command.since);
        queue.commands.push_back(command);
        if queue.flush.as_ref().is_none_or(|flush| flush.is_overdue(now)) {
            queue.flush = Some(ActiveFlush { at: now, by: thread::current().id(), has_started: false });
            return Flush::ToBegin;
        }
        if queue.commands.len().is_multiple_of(BATCH_SIZE) { Flush::Batch } else { Flush::Underway }
    }

    /// Takes the first commands of a queue, at most `at_most`. Includes only commands that arrived `within` this time after
    /// the first one. They count as in flight until their places are released. Also returns whether other
    /// commands are left.
    pub(super) fn take(
        &mut self,
        runtime: Id,
        at_most: usize,
        within: Duration,
    ) -> Option<(impl Iterator<Item = PendingCommand>, bool)> {
        let commands = &mut self.queue(runtime)?.commands;
        let first = commands.front()?.since;
        let is_near = |command: &PendingCommand| command.since.saturating_duration_since(first) <= within;
        let count = match commands.back() {
            Some(last) if is_near(last) => commands.len(),
            _ => commands.iter().take_while(|command| is_near(command)).count(),
        };
        let count = count.min(at_most);
        let are_others_left = commands.len() > count;
        Some((commands.drain(..count), are_others_left))
    }

    pub(super) fn flush_has_started(&mut self, runtime: Id) {
        if let Some(flush) = self.queue(runtime).and_then(|queue| queue.flush.as_mut()) {
            flush.has_started = true;
        }
    }

    /// Ends the active flush. The next command starts a new one.
    pub(super) fn flush_is_over(&mut self, runtime: Id) {
        if let Some(queue) = self.queue(runtime) {
            queue.flush = None;
        }
    }

    /// Removes expired commands from all queues, because their runtimes may be blocked. Scans at a minimum interval only,
    /// because it visits every command.
    pub(super) fn take_expired(&mut self, now: Instant, deadline: Duration) -> Vec<PendingCommand> {
        let is_due = self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= FLUSH_TIMEOUT);
        let mut gone = Vec::new();
        if is_due {
            self.swept = Some(now);
            for queue in &mut self.queues {
                for command in mem::take(&mut queue.commands) {
                    let is_gone = command.is_expired(now, deadline);
                    if is_gone { gone.push(command) } else { queue.commands.push_back(command) }
                }
            }
        }
        gone
    }

    fn queue(&mut self, runtime: Id) -> Option<&mut RuntimeQueue> {
        self.queues.iter_mut().find(|queue| queue.runtime == runtime)
    }

    fn queue_or_new(&mut self, runtime: Id) -> &mut RuntimeQueue {
        let known = self.queues.iter().position(|queue| queue.runtime == runtime);
        let place = known.unwrap_or_else(|| {
            // Remove empty queues, including those of runtimes that have ended.
            self.queues.retain(|queue| queue.flush.is_some() || !queue.commands.is_empty());
            self.queues.push(RuntimeQueue { runtime, commands: VecDeque::new(), flush: None });
            self.queues.len() - 1
        });
        &mut self.queues[place]
    }
}

impl ActiveFlush {
    fn is_overdue(&self, now: Instant) -> bool {
        let is_late = now.saturating_duration_since(self.at) >= FLUSH_TIMEOUT;
        is_late || !self.has_started && self.by != thread::current().id()
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Builder;

    use super::*;
    use crate::store::holders::HolderId;

    fn begins(waiting: &mut Waiting, runtime: Id) -> bool {
        begins_at(Instant::now(), waiting, runtime)
    }

    fn begins_at(since: Instant, waiting: &mut Waiting, runtime: Id) -> bool {
        let place = Place::Nonce(HolderId::from_bits(0));
        let command = PendingCommand { command: Cmd::new(), reply: oneshot::channel().0, since, place };
        matches!(waiting.put(command, runtime), Flush::ToBegin)
    }

    fn begins_elsewhere(waiting: &mut Waiting, runtime: Id) -> bool {
        thread::scope(|threads| threads.spawn(|| begins(waiting, runtime)).join().unwrap_or(false))
    }

    #[test]
    fn another_thread_flushes_until_a_flush_has_started() -> std::io::Result<()> {
        let (mut waiting, runtime) = (Waiting::default(), Builder::new_current_thread().build()?.handle().id());
        assert!(begins(&mut waiting, runtime));
        assert!(!begins(&mut waiting, runtime));
        assert!(begins_elsewhere(&mut waiting, runtime));
        waiting.flush_has_started(runtime);
        assert!(!begins(&mut waiting, runtime) && !begins_elsewhere(&mut waiting, runtime));
        Ok(())
    }

    #[test]
    fn a_round_that_is_late_is_followed_by_another() -> std::io::Result<()> {
        let (mut waiting, runtime) = (Waiting::default(), Builder::new_current_thread().build()?.handle().id());
        let now = Instant::now();
        assert!(begins_at(now, &mut waiting, runtime));
        waiting.flush_has_started(runtime);
        assert!(!begins_at(now + FLUSH_TIMEOUT - Duration::from_nanos(1), &mut waiting, runtime));
        assert!(begins_at(now + FLUSH_TIMEOUT, &mut waiting, runtime));
        Ok(())
    }

    #[test]
    fn rooms_of_runtimes_that_have_ended_are_given_up() -> std::io::Result<()> {
        let mut waiting = Waiting::default();
        for _ in 0..10 {
            waiting.queue_or_new(Builder::new_current_thread().build()?.handle().id());
        }
        assert_eq!(waiting.queues.len(), 1);
        Ok(())
    }
}
