//! The options for tokens.

use std::time::Duration;

use clap::Args;
use countersign::{
    Scheme, TokenLocation,
    store::{MemoryTokenStore, RedisNonceStore, RedisTokenStore, TokenStore},
    token::{OwnerKey, SessionLimit, Tokens},
};

/// Which tokens the server issues and accepts.
#[derive(Args)]
#[command(next_help_heading = "Tokens")]
pub(crate) struct ServeTokenOptions {
    /// Check tokens, and serve the paths that issue, renew and end them
    #[arg(long)]
    pub(crate) tokens: bool,
    /// Accept requests that the key of a session signed
    #[arg(long, requires = "tokens")]
    pub(crate) session_keys: bool,
    /// How long a token lives; by default 7200
    #[arg(long, value_name = "SECONDS", requires = "tokens", value_parser = clap::value_parser!(u64).range(1..))]
    token_lifetime: Option<u64>,
    /// How long the old token of a renewal still works after the first use of its successor; by default 300
    #[arg(long, value_name = "SECONDS", requires = "tokens")]
    renewal_overlap: Option<u64>,
    /// End sessions that are not used for this long; a session can live up to a minute longer
    #[arg(long, value_name = "SECONDS", requires = "tokens", value_parser = clap::value_parser!(u64).range(1..))]
    idle_timeout: Option<u64>,
    /// How many sessions a user has in one app on one kind of device: a new one ends the oldest, or with refuse:N is refused
    #[arg(long, value_name = "[refuse:]N", requires = "tokens")]
    session_limit: Option<String>,
    /// How many tokens to store at a time
    #[arg(long, value_name = "N", requires = "tokens", value_parser = clap::value_parser!(u64).range(1..))]
    max_tokens: Option<u64>,
    /// The environment variable with the owner key, a secret that all servers share; the tokens are then in the Redis of --redis
    #[arg(long, value_name = "NAME", requires = "tokens", requires = "redis", conflicts_with = "max_tokens")]
    owner_key_env: Option<String>,
}

impl ServeTokenOptions {
    /// The tokens, or `None` without --tokens. They share the connection of `redis` if there is an owner key. A message names
    /// the option that is wrong.
    pub(crate) fn tokens(&self, scheme: &Scheme, redis: Option<&RedisNonceStore>) -> Result<Option<Tokens>, String> {
        if !self.tokens {
            return Ok(None);
        }
        if let (Some(name), Some(nonces)) = (&self.owner_key_env, redis) {
            let store = RedisTokenStore::sharing(nonces, owner_key(name)?);
            return self.with_store(store, scheme).map(Some);
        }
        if redis.is_some() {
            eprintln!("note: the tokens are in the memory of this server: --owner-key-env stores them in Redis");
        }
        let capacity = self.max_tokens.map_or(MemoryTokenStore::DEFAULT_CAPACITY, to_usize);
        let store = MemoryTokenStore::with_capacity(capacity).map_err(|error| format!("--tokens: {error}"))?;
        self.with_store(store, scheme).map(Some)
    }

    /// The tokens in this store.
    fn with_store(&self, store: impl TokenStore, scheme: &Scheme) -> Result<Tokens, String> {
        if let TokenLocation::Cookie(name) | TokenLocation::FieldOrCookie(name) = scheme.token_location()
            && name.strip_prefix("__Host-").is_none_or(str::is_empty)
        {
            return Err("--token-place: with --tokens, expected a cookie whose name begins with __Host-".to_owned());
        }
        let mut tokens = Tokens::new(store);
        if self.session_keys {
            tokens = tokens.with_session_keys();
        }
        if let Some(seconds) = self.token_lifetime {
            tokens = tokens.with_lifetime(Duration::from_secs(seconds));
        }
        if let Some(seconds) = self.renewal_overlap {
            tokens = tokens.with_renewal_overlap(Duration::from_secs(seconds));
        }
        if let Some(seconds) = self.idle_timeout {
            tokens = tokens.with_idle_timeout(Duration::from_secs(seconds));
        }
        if let Some(text) = &self.session_limit {
            tokens = tokens.with_limit(session_limit(text)?);
        }
        Ok(tokens)
    }
}

/// Reads the owner key. The message repeats neither the name nor the value.
fn owner_key(name: &str) -> Result<OwnerKey, String> {
    let text = std::env::var(name).map_err(|_| "--owner-key-env: the environment has no such variable".to_owned())?;
    OwnerKey::new(text).map_err(|error| format!("--owner-key-env: {error}"))
}

/// Reads a limit. The message does not repeat the text, which may be a secret that belongs to another option.
fn session_limit(text: &str) -> Result<SessionLimit, String> {
    let (number, limit): (_, fn(usize) -> SessionLimit) = match text.strip_prefix("refuse:") {
        Some(number) => (number, SessionLimit::Refuse),
        None => (text, SessionLimit::NewestWins),
    };
    let count = number.parse().ok().filter(|&count: &usize| count > 0);
    count.map(limit).ok_or_else(|| "--session-limit: expected a number from 1 on, or refuse: and a number".to_owned())
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
