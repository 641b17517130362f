//! The connection that all commands share. It is opened when needed and replaced when it breaks.

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

use super::{connect::Connect, error::CommandError};

/// The pause after a failed attempt. Without it, a thousand commands a second would cause a thousand attempts.
const BACKOFF: Duration = Duration::from_millis(100);

/// A connection is discarded when a command on it has timed out and it has been silent for this long.
const DEAD_AFTER: Duration = Duration::from_millis(500);

/// A connection that has been silent for this long may be closed, so it gets a PING before commands are sent. A busy
/// connection never gets one.
const IDLE: Duration = Duration::from_millis(100);

/// The age from which a connection that reconnects by itself is replaced after a failure. Such a connection does not
/// detect a node that hangs and is replaced by its replica.
const RENEWAL: Duration = Duration::from_secs(3);

pub(super) struct ConnectionManager<C: Connect> {
    connector: C,
    state: Mutex<State<C::Connection>>,
}

struct State<T> {
    connection: Option<Arc<Connection<T>>>,
    /// The start of the attempt in progress, and the channel with its result.
    attempt: Option<(Instant, watch::Receiver<Option<Attempt<T>>>)>,
    /// The failure of the last attempt, if it failed.
    failure: Option<(Instant, Failure)>,
}

impl<T> State<T> {
    /// Returns the attempt in progress. Ignores an attempt whose task is gone, because its runtime ended or the client
    /// panicked, and an attempt that is overdue, because its runtime is blocked.
    fn attempt(&self, longest: Duration) -> Option<watch::Receiver<Option<Attempt<T>>>> {
        let (_, attempt) = self.attempt.as_ref().filter(|(began, _)| began.elapsed() <= longest)?;
        attempt.has_changed().is_ok().then(|| attempt.clone())
    }
}

/// The result of an attempt to connect.
type Attempt<T> = Result<Arc<Connection<T>>, Failure>;

/// The reason why an attempt to connect failed.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    Refused(RedisError),
    TimedOut,
}

impl From<Failure> for CommandError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(error) => Self::Disconnected(error),
            Failure::TimedOut => Self::Unreachable,
        }
    }
}

/// A connection, and the time of its last answer.
pub(super) struct Connection<T> {
    pub(super) connection: T,
    since: Instant,
    /// The last answer, in milliseconds after `since`.
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

    /// Returns the current connection, or waits for a new one. Concurrent callers share one attempt.
    pub(super) async fn connection(self: &Arc<Self>) -> Result<Arc<Connection<C::Connection>>, CommandError> {
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
            Ok(Some(attempt)) => attempt.clone().map_err(CommandError::from),
            // The runtime dropped the task of the attempt.
            _ => Err(Failure::TimedOut.into()),
        }
    }

    /// Runs the attempt in its own task, because the first caller may stop waiting before the others.
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

    /// Discards a connection and the commands that wait on it. The next command opens a new one.
    pub(super) fn discard(&self, connection: &Arc<Connection<C::Connection>>) {
        let mut state = self.state();
        if state.connection.as_ref().is_some_and(|current| Arc::ptr_eq(current, connection)) {
            state.connection = None;
        }
    }

    /// Records that a command timed out on this connection, or failed on a connection that reconnects by itself.
    pub(super) fn report_failure(self: &Arc<Self>, connection: &Arc<Connection<C::Connection>>) {
        if connection.is_unresponsive() {
            self.discard(connection);
        } else if C::RECONNECTS {
            self.renew(connection);
        }
    }

    /// Opens a new connection while commands continue on this one.
    fn renew(self: &Arc<Self>, connection: &Arc<Connection<C::Connection>>) {
        let mut state = self.state();
        let is_current = state.connection.as_ref().is_some_and(|current| Arc::ptr_eq(current, connection));
        let is_due = connection.since.elapsed() >= RENEWAL
            && state.failure.as_ref().is_none_or(|(at, _)| at.elapsed() >= RENEWAL);
        // A command may be dropped outside a runtime.
        if is_current && is_due && state.attempt(C::CONNECT_TIMEOUT).is_none() && Handle::try_current().is_ok() {
            state.attempt = Some(self.attempt());
        }
    }
}

impl<T> Connection<T> {
    fn new(connection: T) -> Self {
        Self { connection, since: Instant::now(), last_alive: AtomicU64::new(0) }
    }

    /// Records that the server has answered, with success or an error.
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
