//! Sends commands over the connection and records whether it still works.

use std::sync::Arc;

use redis::{ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value, aio::ConnectionLike};

use super::{
    connect::Connect,
    connections::{Connection, ConnectionManager},
    error::CommandError,
};

impl<C: Connect> ConnectionManager<C> {
    /// Sends commands in one write. Each has its own answer. A cluster connection takes one command only.
    pub(super) async fn exchange(
        self: &Arc<Self>,
        commands: &Pipeline,
    ) -> Result<Vec<RedisResult<Value>>, CommandError> {
        let connection = self.live_connection().await?;
        let mut watch = ExchangeGuard { connections: self, connection: &connection, is_answered: false };
        let answers = over(connection.connection.clone(), commands).await;
        watch.is_answered = true;
        match answers.iter().filter_map(|answer| answer.as_ref().err()).all(leaves_connection_usable) {
            // An error from the server is an answer too.
            true => connection.mark_alive(),
            // One node of a cluster fails. A new connection would fail the commands on all other nodes.
            false if C::RECONNECTS => self.report_failure(&connection),
            false => self.discard(&connection),
        }
        Ok(answers)
    }
}

impl<C: Connect> ConnectionManager<C> {
    /// Returns a connection that is ready for commands.
    ///
    /// The server or a firewall may have closed an idle connection. The client's errors do not show whether a command
    /// was written before the client noticed. So an idle connection gets a PING first, which changes nothing. If the
    /// PING fails, no command was sent, and a new connection is opened, once. A command is never sent twice.
    async fn live_connection(self: &Arc<Self>) -> Result<Arc<Connection<C::Connection>>, CommandError> {
        let connection = self.connection().await?;
        // A connection that reconnects by itself repeats commands by itself.
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
        // An error from the server is an answer: a user may have the permission for SET but not for PING.
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

/// Detects that an exchange is dropped before it has an answer.
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

/// Returns whether the server understood the command and rejected it, for example because it is full or still loading.
fn leaves_connection_usable(error: &RedisError) -> bool {
    match error.kind() {
        // A master that became a replica stays a replica: look for the new master.
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) => false,
        // In a script, Redis 6.2 reports the same as a general error.
        ErrorKind::Server(ServerErrorKind::ResponseError) => {
            !error.detail().is_some_and(|text| text.contains("-READONLY"))
        }
        ErrorKind::Server(_) | ErrorKind::Extension => error.code() != Some("NOAUTH"),
        _ => false,
    }
}
