//! Commands sent and answered over the link, which is told how the connection fares.

use std::sync::Arc;

use redis::{ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value, aio::ConnectionLike};

use super::{
    connect::Connect,
    connections::{Connection, ConnectionManager},
    error::ClaimError,
};

impl<C: Connect> ConnectionManager<C> {
    /// Sends commands in one piece; each has its own answer. A connection that stands for many takes one command only.
    pub(super) async fn exchange(self: &Arc<Self>, commands: &Pipeline) -> Result<Vec<RedisResult<Value>>, ClaimError> {
        let connection = self.live_connection().await?;
        let mut watch = ExchangeGuard { connections: self, connection: &connection, is_answered: false };
        let answers = over(connection.connection.clone(), commands).await;
        watch.is_answered = true;
        match answers.iter().filter_map(|answer| answer.as_ref().err()).all(leaves_connection_usable) {
            // What the server refuses is an answer too.
            true => connection.mark_alive(),
            // One node of a cluster is in trouble: a new connection would cost the claims of all others.
            false if C::RECONNECTS => self.report_failure(&connection),
            false => self.discard(&connection),
        }
        Ok(answers)
    }
}

impl<C: Connect> ConnectionManager<C> {
    /// A connection on which commands can be sent.
    ///
    /// The server or a firewall may have closed a connection that was idle. The client's errors do not tell whether a
    /// command was written before it noticed, so an idle connection is asked with a PING first. A PING changes nothing:
    /// if it fails, no claim was sent, and a new connection takes its place, once. A claim itself is never sent twice.
    async fn live_connection(self: &Arc<Self>) -> Result<Arc<Connection<C::Connection>>, ClaimError> {
        let connection = self.connection().await?;
        // A connection that mends itself sends a command again by itself.
        if C::RECONNECTS || !connection.is_idle() || self.is_alive(&connection).await {
            return Ok(connection);
        }
        self.discard(&connection);
        self.connection().await
    }

    async fn is_alive(self: &Arc<Self>, connection: &Arc<Connection<C::Connection>>) -> bool {
        let mut watch = ExchangeGuard { connections: self, connection, is_answered: false };
        let answer = connection.connection.clone().req_packed_command(&redis::cmd("PING")).await;
        watch.is_answered = true;
        // An error of the server is an answer: a user without the permission for PING can have that for SET.
        let is_alive = answer.and_then(Value::extract_error).as_ref().err().is_none_or(leaves_connection_usable);
        if is_alive {
            connection.mark_alive();
        }
        is_alive
    }
}

async fn over(mut connection: impl ConnectionLike, commands: &Pipeline) -> Vec<RedisResult<Value>> {
    let count = commands.len();
    let answers = match commands.cmd_iter().next() {
        Some(command) if count == 1 => connection.req_packed_command(command).await.map(|answer| vec![answer]),
        _ => connection.req_packed_commands(commands, 0, count).await,
    };
    match answers {
        Ok(answers) => answers.into_iter().map(Value::extract_error).collect(),
        Err(error) => vec![Err(error); count],
    }
}

/// Notices when an exchange is given up before it has an answer.
struct ExchangeGuard<'a, C: Connect> {
    connections: &'a Arc<ConnectionManager<C>>,
    connection: &'a Arc<Connection<C::Connection>>,
    is_answered: bool,
}

impl<C: Connect> Drop for ExchangeGuard<'_, C> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.connections.report_failure(self.connection);
        }
    }
}

/// Whether the server has understood, and said no for reasons of its own: it is full, say, or still loading.
fn leaves_connection_usable(error: &RedisError) -> bool {
    match error.kind() {
        // A master that became a replica stays one: look for the new master.
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) => false,
        ErrorKind::Server(_) | ErrorKind::Extension => error.code() != Some("NOAUTH"),
        _ => false,
    }
}
