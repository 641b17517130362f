//! A bound on the bytes of many bodies at one time.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::collect::{Pieces, Room};

/// How many bytes of memory bodies may take together while they arrive.
///
/// When they take more, the largest of them is ended, among equals the oldest. To end the newest would let a few slow
/// senders keep everybody else out.
pub(super) struct ByteBudget {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    used: usize,
    next: u64,
    /// In ascending order of size and of age.
    bodies: BTreeMap<Rank, Arc<Held>>,
}

/// A body's size, and its number: the older the lower.
type Rank = (usize, Reverse<u64>);

/// What has arrived of a body. It lies here so that its memory is free as soon as it is ended, whatever its task does.
#[derive(Default)]
struct Held(Mutex<Arrived>);

#[derive(Default)]
struct Arrived {
    pieces: Pieces,
    is_ended: bool,
    waker: Option<Waker>,
}

/// One body's part of a budget, given back when it is dropped. A body that is there at once never takes any.
pub(super) struct Share {
    budget: Arc<ByteBudget>,
    /// With the rank that it has in the budget, unless it was ended.
    held: Option<(Rank, Arc<Held>)>,
}

/// The body was ended, because the bodies that arrive take more memory than they may.
#[derive(Debug, thiserror::Error)]
#[error("the bodies that arrive take more than the {limit} bytes that they may, and this was the largest of them")]
pub(super) struct Ended {
    limit: usize,
}

impl ByteBudget {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default() }
    }

    pub(super) fn share(self: &Arc<Self>) -> Share {
        Share { budget: self.clone(), held: None }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Counts a body's growth, and ends what is too much: maybe this body itself.
    fn grow(&self, rank: &mut Rank, held: &Arc<Held>, growth: usize) {
        let mut ended = Vec::new();
        {
            let mut state = lock(&self.state);
            if rank.0 > 0 && state.bodies.remove(rank).is_none() {
                // It was ended, and is not counted any more.
                return;
            }
            rank.0 = rank.0.saturating_add(growth);
            state.used = state.used.saturating_add(growth);
            state.bodies.insert(*rank, held.clone());
            while state.used > self.limit
                && let Some(((size, _), largest)) = state.bodies.pop_last()
            {
                state.used -= size;
                ended.push(largest);
            }
        }
        for held in ended {
            held.end();
        }
    }

    fn give_back(&self, rank: &Rank) {
        let mut state = lock(&self.state);
        if state.bodies.remove(rank).is_some() {
            state.used -= rank.0;
        }
    }

    fn ended(&self) -> Ended {
        Ended { limit: self.limit }
    }
}

impl Held {
    fn end(&self) {
        let mut arrived = lock(&self.0);
        let (pieces, waker) = (mem::take(&mut arrived.pieces), arrived.waker.take());
        arrived.is_ended = true;
        drop(arrived);
        drop(pieces);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// `None` if it was ended.
    fn arrived(&self) -> Option<MutexGuard<'_, Arrived>> {
        Some(lock(&self.0)).filter(|arrived| !arrived.is_ended)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Room for Share {
    type Error = Ended;

    fn push(&mut self, data: &[u8], limit: usize) -> Result<(), Ended> {
        let (rank, held) = self.held.get_or_insert_with(|| {
            let mut state = lock(&self.budget.state);
            state.next += 1;
            ((0, Reverse(state.next)), Arc::default())
        });
        // Nobody else pushes, so that it grows by as much as this says.
        let growth = held.arrived().map(|arrived| arrived.pieces.growth(data.len(), limit));
        match growth.ok_or_else(|| self.budget.ended())? {
            0 => {}
            growth => self.budget.grow(rank, held, growth),
        }
        held.arrived().ok_or_else(|| self.budget.ended())?.pieces.push(data, limit);
        Ok(())
    }

    fn poll_lost(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        let Some((_, held)) = &self.held else {
            return Poll::Pending;
        };
        let Some(mut arrived) = held.arrived() else {
            return Poll::Ready(self.budget.ended());
        };
        match &mut arrived.waker {
            Some(waker) => waker.clone_from(context.waker()),
            waker => *waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    fn take(&mut self) -> Result<Pieces, Ended> {
        match &self.held {
            Some((_, held)) => {
                let mut arrived = held.arrived().ok_or_else(|| self.budget.ended())?;
                Ok(mem::take(&mut arrived.pieces))
            }
            None => Ok(Pieces::default()),
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some((rank, _)) = &self.held {
            self.budget.give_back(rank);
        }
    }
}
