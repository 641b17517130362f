//! Lua scripts. Redis runs each of them as a whole, so all changes of one key are atomic.

use std::{
    error::Error,
    sync::{Arc, OnceLock},
};

use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};
use tokio::time::{Instant, timeout_at};

use super::{batcher::Batcher, connect::Connect, error::CommandError, places::Payer};
use crate::store::StoreError;

/// A script, and its SHA-1, by which Redis knows it once it has run there.
pub(super) struct Script {
    text: &'static str,
    hash: OnceLock<String>,
}

impl Script {
    pub(super) const fn new(text: &'static str) -> Self {
        Self { text, hash: OnceLock::new() }
    }

    fn hash(&self) -> &str {
        self.hash.get_or_init(|| redis::Script::new(self.text).get_hash().to_owned())
    }

    /// Runs the script on a key.
    ///
    /// A server that does not know the script says so and has done nothing. It then gets the text. `SCRIPT LOAD` would
    /// reach one node of a cluster only.
    pub(super) async fn run<C: Connect>(
        &self,
        batcher: &Arc<Batcher<C>>,
        payer: Payer<'_>,
        key: &[u8],
        arguments: &[&[u8]],
    ) -> Result<Value, StoreError> {
        let since = Instant::now();
        let answer = batcher.send(command("EVALSHA", self.hash(), key, arguments), payer).await;
        let answer = match answer {
            Err(error) if is_unknown_script(&error) => {
                let again = batcher.send(command("EVAL", self.text, key, arguments), payer);
                match since.checked_add(batcher.deadline) {
                    Some(end) => timeout_at(end, again)
                        .await
                        .unwrap_or_else(|_| Err(CommandError::Deadline(batcher.deadline).into())),
                    None => again.await,
                }
            }
            answer => answer,
        };
        answer.map_err(|error| match cause(&error).and_then(RedisError::code) {
            Some("UNREADABLE") => CommandError::Unreadable.into(),
            _ => error,
        })
    }
}

fn command(verb: &str, script: &str, key: &[u8], arguments: &[&[u8]]) -> Cmd {
    let bytes = script.len() + key.len() + arguments.iter().map(|argument| argument.len()).sum::<usize>();
    let mut command = Cmd::with_capacity(4 + arguments.len(), 64 + bytes);
    command.arg(verb).arg(script).arg(1).arg(key);
    arguments.iter().for_each(|argument| _ = command.arg(*argument));
    command
}

fn is_unknown_script(error: &StoreError) -> bool {
    cause(error).is_some_and(|cause| cause.kind() == ErrorKind::Server(ServerErrorKind::NoScript))
}

/// The error that Redis has answered.
fn cause(error: &StoreError) -> Option<&RedisError> {
    match error.source()?.downcast_ref()? {
        CommandError::Refused(cause) => Some(cause),
        _ => None,
    }
}
