//! Claims that wait to go out, each in its own runtime.

use std::{
    collections::VecDeque,
    mem,
    thread::{self, ThreadId},
    time::Duration,
};

use redis::Cmd;
use tokio::{runtime::Id, sync::oneshot, time::Instant};

use super::error::ClaimError;
use crate::{
    protocol::Occurrence,
    store::{StoreError, holders::HolderId},
};

/// Whoever finds the last round this late begins another, lest one that got lost hold all up. No more often is made room.
const PATIENCE: Duration = Duration::from_millis(20);

/// So many go out without waiting for more, for Redis to be at work while others are still on their way here.
pub(super) const PIECE: usize = 32;

pub(super) struct Letter {
    pub(super) command: Cmd,
    pub(super) reply: Reply,
    pub(super) since: Instant,
    /// Among all that are in flight.
    pub(super) place: HolderId,
}

/// Where the answer goes.
pub(super) type Reply = oneshot::Sender<Answer>;

/// Small, for it mostly comes from another core.
pub(super) type Answer = Result<Occurrence, StoreError>;

#[derive(Default)]
pub(super) struct Waiting {
    rooms: Vec<Room>,
    swept: Option<Instant>,
}

/// What waits in one runtime, and goes out by a task of it: another one may stand still, and its clock with it.
struct Room {
    runtime: Id,
    letters: VecDeque<Letter>,
    round: Option<Begun>,
}

/// A task that is to take all letters of its room.
struct Begun {
    at: Instant,
    by: ThreadId,
    /// It was polled. Until then it may lie where only the thread that began it finds it.
    is_afoot: bool,
}

/// Who takes what waits.
pub(super) enum Collector {
    /// A round that has begun already.
    Underway,
    /// A round that has to begin.
    ToBegin,
    /// A task for a piece that is full.
    Piece,
}

impl Letter {
    /// Tells whoever still waits for it.
    pub(super) fn refuse(self, error: ClaimError) {
        let _ = self.reply.send(Err(error.into()));
    }

    /// Nobody waits for it any more, or it has waited too long.
    pub(super) fn is_in_vain(&self, now: Instant, deadline: Duration) -> bool {
        self.reply.is_closed() || now.saturating_duration_since(self.since) >= deadline
    }
}

impl Waiting {
    pub(super) fn put(&mut self, letter: Letter, runtime: Id) -> Collector {
        let (room, now) = (self.room_or_new(runtime), letter.since);
        room.letters.push_back(letter);
        if room.round.as_ref().is_none_or(|round| round.is_overdue(now)) {
            room.round = Some(Begun { at: now, by: thread::current().id(), is_afoot: false });
            return Collector::ToBegin;
        }
        if room.letters.len().is_multiple_of(PIECE) { Collector::Piece } else { Collector::Underway }
    }

    /// The first letters of a room, `at_most` so many, of those that came `within` so much time after the very first. They
    /// count as in flight until they land. And whether others are left.
    pub(super) fn take(
        &mut self,
        runtime: Id,
        at_most: usize,
        within: Duration,
    ) -> Option<(impl Iterator<Item = Letter>, bool)> {
        let letters = &mut self.room(runtime)?.letters;
        let first = letters.front()?.since;
        let is_near = |letter: &Letter| letter.since.saturating_duration_since(first) <= within;
        let count = match letters.back() {
            Some(last) if is_near(last) => letters.len(),
            _ => letters.iter().take_while(|letter| is_near(letter)).count(),
        };
        let count = count.min(at_most);
        let are_others_left = letters.len() > count;
        Some((letters.drain(..count), are_others_left))
    }

    pub(super) fn round_is_afoot(&mut self, runtime: Id) {
        if let Some(round) = self.room(runtime).and_then(|room| room.round.as_mut()) {
            round.is_afoot = true;
        }
    }

    /// The next claim begins another one.
    pub(super) fn round_is_over(&mut self, runtime: Id) {
        if let Some(room) = self.room(runtime) {
            room.round = None;
        }
    }

    /// Takes out, of all rooms, what nobody waits for any more and what has waited too long. Their runtimes may stand still.
    /// Now and then only, for it looks at each.
    pub(super) fn take_expired(&mut self, now: Instant, deadline: Duration) -> Vec<Letter> {
        let is_due = self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= PATIENCE);
        let mut gone = Vec::new();
        if is_due {
            self.swept = Some(now);
            for room in &mut self.rooms {
                for letter in mem::take(&mut room.letters) {
                    let is_gone = letter.is_in_vain(now, deadline);
                    if is_gone { gone.push(letter) } else { room.letters.push_back(letter) }
                }
            }
        }
        gone
    }

    fn room(&mut self, runtime: Id) -> Option<&mut Room> {
        self.rooms.iter_mut().find(|room| room.runtime == runtime)
    }

    fn room_or_new(&mut self, runtime: Id) -> &mut Room {
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

impl Begun {
    fn is_overdue(&self, now: Instant) -> bool {
        let is_late = now.saturating_duration_since(self.at) >= PATIENCE;
        is_late || !self.is_afoot && self.by != thread::current().id()
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Builder;

    use super::*;

    fn begins(waiting: &mut Waiting, runtime: Id) -> bool {
        begins_at(Instant::now(), waiting, runtime)
    }

    fn begins_at(since: Instant, waiting: &mut Waiting, runtime: Id) -> bool {
        let letter = Letter { command: Cmd::new(), reply: oneshot::channel().0, since, place: HolderId::from_bits(0) };
        matches!(waiting.put(letter, runtime), Collector::ToBegin)
    }

    fn begins_elsewhere(waiting: &mut Waiting, runtime: Id) -> bool {
        thread::scope(|threads| threads.spawn(|| begins(waiting, runtime)).join().unwrap_or(false))
    }

    #[test]
    fn until_a_round_is_afoot_another_thread_begins_its_own() -> std::io::Result<()> {
        let (mut waiting, runtime) = (Waiting::default(), Builder::new_current_thread().build()?.handle().id());
        assert!(begins(&mut waiting, runtime));
        assert!(!begins(&mut waiting, runtime));
        assert!(begins_elsewhere(&mut waiting, runtime));
        waiting.round_is_afoot(runtime);
        assert!(!begins(&mut waiting, runtime) && !begins_elsewhere(&mut waiting, runtime));
        Ok(())
    }

    #[test]
    fn a_round_that_is_late_is_followed_by_another() -> std::io::Result<()> {
        let (mut waiting, runtime) = (Waiting::default(), Builder::new_current_thread().build()?.handle().id());
        let now = Instant::now();
        assert!(begins_at(now, &mut waiting, runtime));
        waiting.round_is_afoot(runtime);
        assert!(!begins_at(now + PATIENCE - Duration::from_nanos(1), &mut waiting, runtime));
        assert!(begins_at(now + PATIENCE, &mut waiting, runtime));
        Ok(())
    }

    #[test]
    fn rooms_of_runtimes_that_have_ended_are_given_up() -> std::io::Result<()> {
        let mut waiting = Waiting::default();
        for _ in 0..10 {
            waiting.room_or_new(Builder::new_current_thread().build()?.handle().id());
        }
        assert_eq!(waiting.rooms.len(), 1);
        Ok(())
    }
}
