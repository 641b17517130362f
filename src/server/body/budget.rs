//! A limit on the memory that many bodies use at one time.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::{
    collect::{Pieces, Room},
    protocol::AppId,
};

/// A limit on the bytes of memory that bodies use together while they arrive.
///
/// If the bodies use more, the holder with the most bytes loses its largest body, and the oldest one among equals. A
/// holder is an app, or a single body if its request is not authenticated. Ending the newest body instead would let a
/// few slow senders keep all others out.
pub(in crate::server) struct ByteBudget {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    used: usize,
    next: u64,
    holders: HashMap<HolderId, Holder>,
    /// All holders, in ascending order of bytes and of age.
    ranking: BTreeSet<(usize, Reverse<HolderId>)>,
    apps: HashMap<AppId, HolderId>,
}

type HolderId = u64;

#[derive(Default)]
struct Holder {
    bytes: usize,
    /// The holder's bodies, in ascending order of size and of age.
    bodies: BTreeMap<Rank, Arc<Held>>,
    app: Option<AppId>,
}

/// A body's size and its number. Older bodies have lower numbers.
type Rank = (usize, Reverse<u64>);

/// The bytes that have arrived of a body. The budget owns them, so that it can free them without waiting for the body's
/// task.
#[derive(Default)]
struct Held(Mutex<Arrived>);

#[derive(Default)]
struct Arrived {
    pieces: Pieces,
    is_ended: bool,
    waker: Option<Waker>,
}

/// One body's share of a budget, released on drop. A body that arrives in one frame takes none.
pub(in crate::server) struct Share<'v> {
    budget: &'v ByteBudget,
    app: Option<&'v AppId>,
    counted: Option<Counted>,
}

/// A body's entry in the budget. The entry is gone if the body was ended.
struct Counted {
    holder: HolderId,
    rank: Rank,
    held: Arc<Held>,
}

/// The error for a body that was ended because the arriving bodies use more memory than the limit.
#[derive(Debug, thiserror::Error)]
#[error(
    "the arriving bodies exceed the memory limit of {limit} bytes, and this was the largest body of the largest holder"
)]
pub(in crate::server) struct Ended {
    limit: usize,
}

impl ByteBudget {
    pub(in crate::server) fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default() }
    }

    /// Makes a share for a body of this app, or of an unauthenticated caller if `app` is `None`.
    pub(in crate::server) fn share<'v>(&'v self, app: Option<&'v AppId>) -> Share<'v> {
        Share { budget: self, app, counted: None }
    }

    pub(in crate::server) fn limit(&self) -> usize {
        self.limit
    }

    /// Counts a body's growth, and ends the largest bodies while the limit is exceeded. This body may be one of them.
    fn grow(&self, body: &mut Counted, growth: usize) {
        let mut ended = Vec::new();
        {
            let mut state = lock(&self.state);
            state.grow(body, growth);
            while state.used > self.limit
                && let Some(largest) = state.remove_largest()
            {
                ended.push(largest);
            }
        }
        for held in ended {
            held.end();
        }
    }

    fn ended(&self) -> Ended {
        Ended { limit: self.limit }
    }
}

impl State {
    fn begin(&mut self, app: Option<&AppId>) -> Counted {
        self.next += 1;
        let number = self.next;
        let id = match app {
            Some(app) => *self.apps.entry(app.clone()).or_insert(number),
            None => number,
        };
        let body = Counted { holder: id, rank: (0, Reverse(number)), held: Arc::default() };
        let holder = self.holders.entry(id).or_insert_with(|| Holder { app: app.cloned(), ..Holder::default() });
        holder.bodies.insert(body.rank, body.held.clone());
        self.ranking.insert((holder.bytes, Reverse(id)));
        body
    }

    fn grow(&mut self, body: &mut Counted, growth: usize) {
        // An ended body is not counted any more.
        if let Some(holder) = self.holders.get_mut(&body.holder)
            && let Some(held) = holder.bodies.remove(&body.rank)
        {
            body.rank.0 = body.rank.0.saturating_add(growth);
            holder.bodies.insert(body.rank, held);
            self.ranking.remove(&(holder.bytes, Reverse(body.holder)));
            holder.bytes = holder.bytes.saturating_add(growth);
            self.ranking.insert((holder.bytes, Reverse(body.holder)));
            self.used = self.used.saturating_add(growth);
        }
    }

    fn remove(&mut self, id: HolderId, rank: Rank) -> Option<Arc<Held>> {
        let holder = self.holders.get_mut(&id)?;
        let held = holder.bodies.remove(&rank)?;
        self.ranking.remove(&(holder.bytes, Reverse(id)));
        holder.bytes -= rank.0;
        self.used -= rank.0;
        if !holder.bodies.is_empty() {
            self.ranking.insert((holder.bytes, Reverse(id)));
        } else if let Some(Holder { app: Some(app), .. }) = self.holders.remove(&id) {
            self.apps.remove(&app);
        }
        Some(held)
    }

    fn remove_largest(&mut self) -> Option<Arc<Held>> {
        let (_, Reverse(id)) = *self.ranking.last()?;
        let (rank, _) = self.holders.get(&id)?.bodies.last_key_value()?;
        self.remove(id, *rank)
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

    /// Returns `None` if the body was ended.
    fn arrived(&self) -> Option<MutexGuard<'_, Arrived>> {
        Some(lock(&self.0)).filter(|arrived| !arrived.is_ended)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Room for Share<'_> {
    type Error = Ended;

    fn push(&mut self, data: &[u8], limit: usize) -> Result<(), Ended> {
        let body = self.counted.get_or_insert_with(|| lock(&self.budget.state).begin(self.app));
        // Only this task pushes, so the body grows by exactly this much.
        let growth = body.held.arrived().map(|arrived| arrived.pieces.growth(data.len(), limit));
        match growth.ok_or_else(|| self.budget.ended())? {
            0 => {}
            growth => self.budget.grow(body, growth),
        }
        body.held.arrived().ok_or_else(|| self.budget.ended())?.pieces.push(data, limit);
        Ok(())
    }

    fn poll_lost(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        let Some(body) = &self.counted else {
            return Poll::Pending;
        };
        let Some(mut arrived) = body.held.arrived() else {
            return Poll::Ready(self.budget.ended());
        };
        match &mut arrived.waker {
            Some(waker) => waker.clone_from(context.waker()),
            waker => *waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    fn take(&mut self) -> Result<Pieces, Ended> {
        match &self.counted {
            Some(body) => {
                let mut arrived = body.held.arrived().ok_or_else(|| self.budget.ended())?;
                Ok(mem::take(&mut arrived.pieces))
            }
            None => Ok(Pieces::default()),
        }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        if let Some(body) = &self.counted {
            lock(&self.budget.state).remove(body.holder, body.rank);
        }
    }
}
