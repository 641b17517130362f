//! One connection that many claims share: made when it is needed, and made anew when it is broken.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::RedisError;
use tokio::{
    runtime::Handle,
    sync::watch,
    time::{Instant, timeout},
};

use super::{connect::Connect, error::ClaimError};

/// After a failure nobody tries again for this long: a thousand claims a second need not make a thousand connections.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection on which claims have waited in vain, and that has said nothing for this long, is given up.
const SILENCE: Duration = Duration::from_millis(500);

/// A connection on which nothing was heard for this long may be closed: it is asked before claims are sent on it. On a
/// busy one that never happens, and so costs nothing.
const IDLE: Duration = Duration::from_millis(100);

/// A connection that mends itself does not notice a node that hangs and is replaced by its replica: after a failure one
/// this old is replaced.
const RENEWAL: Duration = Duration::from_secs(3);

pub(super) struct Link<C: Connect> {
    connector: C,
    state: Mutex<State<C::Connection>>,
}

struct State<T> {
    line: Option<Arc<Line<T>>>,
    /// When it began, and what will come of it.
    attempt: Option<(Instant, watch::Receiver<Option<Attempt<T>>>)>,
    /// Of the last attempt, if that failed.
    failure: Option<(Instant, Failure)>,
}

impl<T> State<T> {
    /// An attempt whose task is gone comes to nothing: with its runtime, or by a panic of the client's. One that is later
    /// than it may be has a runtime that does not get on.
    fn attempt(&self, longest: Duration) -> Option<watch::Receiver<Option<Attempt<T>>>> {
        let (_, attempt) = self.attempt.as_ref().filter(|(began, _)| began.elapsed() <= longest)?;
        attempt.has_changed().is_ok().then(|| attempt.clone())
    }
}

/// What came of making a connection.
type Attempt<T> = Result<Arc<Line<T>>, Failure>;

/// Why there is no connection.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    Refused(RedisError),
    TimedOut,
}

/// A connection, and when it was last heard.
pub(super) struct Line<T> {
    pub(super) connection: T,
    since: Instant,
    /// Milliseconds after `since`.
    heard: AtomicU64,
}

impl<C: Connect> Link<C> {
    pub(super) fn new(connector: C) -> Arc<Self> {
        let state = State { line: None, attempt: None, failure: None };
        Arc::new(Self { connector, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State<C::Connection>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that there is, or the one that is being made. Of all who come at once one makes it.
    pub(super) async fn line(self: &Arc<Self>) -> Result<Arc<Line<C::Connection>>, ClaimError> {
        let mut attempt = {
            let mut state = self.state();
            if let Some(line) = &state.line {
                return Ok(line.clone());
            }
            match (state.attempt(C::CONNECTING), &state.failure) {
                (Some(attempt), _) => attempt,
                (None, Some((at, failure))) if at.elapsed() < PAUSE => return Err(failure.clone().into()),
                _ => state.attempt.insert(self.attempt()).1.clone(),
            }
        };
        match attempt.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(attempt)) => attempt.clone().map_err(ClaimError::from),
            // The task that made it is gone, with its runtime.
            _ => Err(Failure::TimedOut.into()),
        }
    }

    /// In a task of its own: whoever asked first may give up first.
    fn attempt(self: &Arc<Self>) -> (Instant, watch::Receiver<Option<Attempt<C::Connection>>>) {
        let (tell, told) = watch::channel(None);
        let link = self.clone();
        tokio::spawn(async move {
            let attempt = match timeout(C::CONNECTING, link.connector.connect()).await {
                Ok(Ok(connection)) => Ok(Arc::new(Line::new(connection))),
                Ok(Err(error)) => Err(Failure::Refused(error)),
                Err(_) => Err(Failure::TimedOut),
            };
            let mut state = link.state();
            state.attempt = None;
            state.failure = attempt.as_ref().err().map(|failure| (Instant::now(), failure.clone()));
            if let Ok(line) = &attempt {
                state.line = Some(line.clone());
            }
            drop(state);
            tell.send_replace(Some(attempt));
        });
        (Instant::now(), told)
    }

    /// Gives a connection up, and with it whatever still waits on it: the next claim makes another one.
    pub(super) fn give_up(&self, line: &Arc<Line<C::Connection>>) {
        let mut state = self.state();
        if state.line.as_ref().is_some_and(|current| Arc::ptr_eq(current, line)) {
            state.line = None;
        }
    }

    /// A claim has waited in vain on this connection, or has failed on one that mends itself.
    pub(super) fn unheard(self: &Arc<Self>, line: &Arc<Line<C::Connection>>) {
        if line.is_silent() {
            self.give_up(line);
        } else if C::MENDS_ITSELF {
            self.renew(line);
        }
    }

    /// Makes another connection, while claims go on over this one.
    fn renew(self: &Arc<Self>, line: &Arc<Line<C::Connection>>) {
        let mut state = self.state();
        let is_current = state.line.as_ref().is_some_and(|current| Arc::ptr_eq(current, line));
        let is_due =
            line.since.elapsed() >= RENEWAL && state.failure.as_ref().is_none_or(|(at, _)| at.elapsed() >= RENEWAL);
        // A claim may be dropped where there is no runtime any more.
        if is_current && is_due && state.attempt(C::CONNECTING).is_none() && Handle::try_current().is_ok() {
            state.attempt = Some(self.attempt());
        }
    }
}

impl<T> Line<T> {
    fn new(connection: T) -> Self {
        Self { connection, since: Instant::now(), heard: AtomicU64::new(0) }
    }

    /// The server has answered, whatever it was.
    pub(super) fn heard(&self) {
        self.heard.store(self.since.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.unheard_for() >= IDLE
    }

    fn is_silent(&self) -> bool {
        self.unheard_for() >= SILENCE
    }

    fn unheard_for(&self) -> Duration {
        let heard = Duration::from_millis(self.heard.load(Ordering::Relaxed));
        self.since.elapsed().saturating_sub(heard)
    }
}
