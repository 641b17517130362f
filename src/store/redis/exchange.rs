//! Commands sent and answered over the link, which is told how the connection fares.

use std::sync::Arc;

use redis::{ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value, aio::ConnectionLike};

use super::{
    connect::Connect,
    error::ClaimError,
    link::{Line, Link},
};

impl<C: Connect> Link<C> {
    /// Sends commands in one piece; each has its own answer. A connection that stands for many takes one command only.
    pub(super) async fn exchange(self: &Arc<Self>, commands: &Pipeline) -> Result<Vec<RedisResult<Value>>, ClaimError> {
        let line = self.line().await?;
        let mut watch = Watch { link: self, line: &line, is_answered: false };
        let answers = over(line.connection.clone(), commands).await;
        watch.is_answered = true;
        match answers.iter().filter_map(|answer| answer.as_ref().err()).all(leaves_connection_usable) {
            // What the server refuses is an answer too.
            true => line.heard(),
            // One node of a cluster is in trouble: a new connection would cost the claims of all others.
            false if C::MENDS_ITSELF => self.unheard(&line),
            false => self.give_up(&line),
        }
        Ok(answers)
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
struct Watch<'a, C: Connect> {
    link: &'a Arc<Link<C>>,
    line: &'a Arc<Line<C::Connection>>,
    is_answered: bool,
}

impl<C: Connect> Drop for Watch<'_, C> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.link.unheard(self.line);
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
