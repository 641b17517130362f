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
const BACKOFF: Duration = Duration::from_millis(100);

/// A connection on which claims have waited in vain, and that has said nothing for this long, is given up.
const DEAD_AFTER: Duration = Duration::from_millis(500);

/// A connection on which nothing was heard for this long may be closed: it is asked before claims are sent on it. On a
/// busy one that never happens, and so costs nothing.
const IDLE: Duration = Duration::from_millis(100);

/// A connection that mends itself does not notice a node that hangs and is replaced by its replica: after a failure one
/// this old is replaced.
const RENEWAL: Duration = Duration::from_secs(3);

pub(super) struct ConnectionManager<C: Connect> {
    connector: C,
    state: Mutex<State<C::Connection>>,
}

struct State<T> {
    connection: Option<Arc<Connection<T>>>,
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
type Attempt<T> = Result<Arc<Connection<T>>, Failure>;

/// Why there is no connection.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    Refused(RedisError),
    TimedOut,
}

impl From<Failure> for ClaimError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(error) => Self::Disconnected(error),
            Failure::TimedOut => Self::Unreachable,
        }
    }
}

/// A connection, and when it was last heard.
pub(super) struct Connection<T> {
    pub(super) connection: T,
    since: Instant,
    /// Milliseconds after `since`.
    last_alive: AtomicU64,
}

impl<C: Connect> ConnectionManager<C> {
    pub(super) fn new(connector: C) -> Arc<Self> {
        let state = State { connection: None, attempt: None, failure: None };
        Arc::new(Self { connector, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State<C::Connection>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that there is, or the one that is being made. Of all who come at once one makes it.
    pub(super) async fn connection(self: &Arc<Self>) -> Result<Arc<Connection<C::Connection>>, ClaimError> {
        let mut attempt = {
            let mut state = self.state();
            if let Some(connection) = &state.connection {
                return Ok(connection.clone());
            }
            match (state.attempt(C::CONNECT_TIMEOUT), &state.failure) {
                (Some(attempt), _) => attempt,
                (None, Some((at, failure))) if at.elapsed() < BACKOFF => return Err(failure.clone().into()),
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
        let connections = self.clone();
        tokio::spawn(async move {
            let attempt = match timeout(C::CONNECT_TIMEOUT, connections.connector.connect()).await {
                Ok(Ok(connection)) => Ok(Arc::new(Connection::new(connection))),
                Ok(Err(error)) => Err(Failure::Refused(error)),
                Err(_) => Err(Failure::TimedOut),
            };
            let mut state = connections.state();
            state.attempt = None;
            state.failure = attempt.as_ref().err().map(|failure| (Instant::now(), failure.clone()));
            if let Ok(connection) = &attempt {
                state.connection = Some(connection.clone());
            }
            drop(state);
            tell.send_replace(Some(attempt));
        });
        (Instant::now(), told)
    }

    /// Gives a connection up, and with it whatever still waits on it: the next claim makes another one.
    pub(super) fn discard(&self, connection: &Arc<Connection<C::Connection>>) {
        let mut state = self.state();
        if state.connection.as_ref().is_some_and(|current| Arc::ptr_eq(current, connection)) {
            state.connection = None;
        }
    }

    /// A claim has waited in vain on this connection, or has failed on one that mends itself.
    pub(super) fn report_failure(self: &Arc<Self>, connection: &Arc<Connection<C::Connection>>) {
        if connection.is_unresponsive() {
            self.discard(connection);
        } else if C::RECONNECTS {
            self.renew(connection);
        }
    }

    /// Makes another connection, while claims go on over this one.
    fn renew(self: &Arc<Self>, connection: &Arc<Connection<C::Connection>>) {
        let mut state = self.state();
        let is_current = state.connection.as_ref().is_some_and(|current| Arc::ptr_eq(current, connection));
        let is_due = connection.since.elapsed() >= RENEWAL
            && state.failure.as_ref().is_none_or(|(at, _)| at.elapsed() >= RENEWAL);
        // A claim may be dropped where there is no runtime any more.
        if is_current && is_due && state.attempt(C::CONNECT_TIMEOUT).is_none() && Handle::try_current().is_ok() {
            state.attempt = Some(self.attempt());
        }
    }
}

impl<T> Connection<T> {
    fn new(connection: T) -> Self {
        Self { connection, since: Instant::now(), last_alive: AtomicU64::new(0) }
    }

    /// The server has answered, whatever it was.
    pub(super) fn mark_alive(&self) {
        self.last_alive.store(self.since.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.silent_for() >= IDLE
    }

    fn is_unresponsive(&self) -> bool {
        self.silent_for() >= DEAD_AFTER
    }

    fn silent_for(&self) -> Duration {
        let last_alive = Duration::from_millis(self.last_alive.load(Ordering::Relaxed));
        self.since.elapsed().saturating_sub(last_alive)
    }
}
