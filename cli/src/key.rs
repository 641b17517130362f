//! The options for keys and tokens. No secret is an argument.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use base64ct::{Base64, Encoding};
use clap::Args;
use countersign::{AppId, Scheme, Secret, Signer, Token, store::FileKeys};
use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::exit::Failure;

/// Where the app's key is.
#[derive(Args)]
#[command(next_help_heading = "Key")]
pub(crate) struct KeyOptions {
    /// The app that signs
    #[arg(long, value_name = "ID", env = "COUNTERSIGN_APP", hide_env_values = true)]
    pub(crate) app: Option<AppId>,
    /// The environment variable that holds the key
    #[arg(long, value_name = "NAME", default_value = "COUNTERSIGN_KEY", conflicts_with_all = ["key_file", "keys"])]
    key_env: String,
    /// A file that holds the key alone; a line end after it does not count
    #[arg(long, value_name = "FILE", conflicts_with = "keys")]
    key_file: Option<PathBuf>,
    /// The key file of a service; `sign`, `presign` and `send` use the first active key of the app
    #[arg(long, value_name = "FILE")]
    pub(crate) keys: Option<PathBuf>,
}

/// Where the token is.
#[derive(Args)]
#[command(next_help_heading = "Token")]
pub(crate) struct TokenOptions {
    /// The environment variable that holds the token, if it is set
    #[arg(long, value_name = "NAME", default_value = "COUNTERSIGN_TOKEN")]
    token_env: String,
    /// A file that holds the token alone
    #[arg(long, value_name = "FILE", conflicts_with = "token_env")]
    token_file: Option<PathBuf>,
    /// Sign with the key of the token's session, which this environment variable holds, in place of the app's key
    #[arg(long, value_name = "NAME", conflicts_with_all = ["key_env", "key_file", "keys"])]
    session_key_env: Option<String>,
    /// Sign with the key of the token's session, which this file holds alone
    #[arg(long, value_name = "FILE", conflicts_with_all = ["session_key_env", "key_env", "key_file", "keys"])]
    session_key_file: Option<PathBuf>,
}

/// The text of a key, which is never shown.
pub(crate) struct KeyText(String);

/// The entry of an app in a key file.
pub(crate) enum AppKeys {
    Unknown,
    Disabled,
    /// The keys that are active at the time in question.
    Active(Vec<KeyText>),
}

impl KeyOptions {
    pub(crate) fn signer(&self, subcommand: &str, scheme: Scheme, token: &TokenOptions) -> Result<Signer, Failure> {
        let app = self.app_id(subcommand);
        let signer = match (token.session_key()?, token.token()?) {
            (Some(key), Some(token)) => Signer::for_session(app, token, key.secret()?),
            (Some(_), None) => {
                let missing = "a session key signs with its token: set the environment variable of --token-env, or use --token-file";
                return Err(Failure::input(missing));
            }
            (None, Some(token)) => Signer::new(app.clone(), self.text(&app)?.secret()?).with_token(token),
            (None, None) => Signer::new(app.clone(), self.text(&app)?.secret()?),
        };
        Ok(signer.with_scheme(scheme))
    }

    /// A signer with the app's key, and without a token.
    pub(crate) fn app_signer(&self, subcommand: &str, scheme: Scheme) -> Result<Signer, Failure> {
        let app = self.app_id(subcommand);
        let key = self.text(&app)?.secret()?;
        Ok(Signer::new(app, key).with_scheme(scheme))
    }

    fn app_id(&self, subcommand: &str) -> AppId {
        self.app.clone().unwrap_or_else(|| {
            Failure::usage(
                subcommand,
                "the app is needed: use --app ID, or set the environment variable COUNTERSIGN_APP",
            )
        })
    }

    /// The key that `sign`, `presign` and `send` use for this app.
    fn text(&self, app: &AppId) -> Result<KeyText, Failure> {
        let Some(path) = &self.keys else { return self.single() };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let failure = |problem: &str| Failure::input(format!("--keys: {problem}"));
        match keys_of_app(path, app, now)? {
            AppKeys::Unknown => Err(failure(&format!("there is no app {app}"))),
            AppKeys::Disabled => Err(failure(&format!("the app {app} is disabled"))),
            AppKeys::Active(keys) => {
                keys.into_iter().next().ok_or_else(|| failure(&format!("no key of the app {app} is active now")))
            }
        }
    }

    /// The key outside of a key file.
    pub(crate) fn single(&self) -> Result<KeyText, Failure> {
        if let Some(path) = &self.key_file {
            return Ok(KeyText(read_line(path, "--key-file")?));
        }
        // The name is not repeated: it is a key where somebody took the option for another.
        let missing = "there is no key: set the environment variable of --key-env, or use --key-file or --keys";
        std::env::var(&self.key_env).map(KeyText).map_err(|_| Failure::input(missing))
    }
}

impl KeyText {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub(crate) fn secret(&self) -> Result<Secret, Failure> {
        let is_written = ["hex:", "base64:", "text:"].iter().any(|prefix| self.0.starts_with(prefix));
        let secret = if is_written { self.0.parse() } else { Secret::new(&*self.0) };
        secret.map_err(|error| Failure::input(format!("the key: {error}")))
    }

    /// The text without its prefix, and the bytes that are the key.
    pub(crate) fn text_and_bytes(&self) -> (&str, Vec<u8>) {
        match self.0.split_once(':') {
            Some(("hex", digits)) => (digits, hex::decode(digits).unwrap_or_default()),
            Some(("base64", digits)) => (digits, Base64::decode_vec(digits).unwrap_or_default()),
            Some(("text", text)) => (text, text.into()),
            _ => (&self.0, self.0.clone().into_bytes()),
        }
    }
}

impl TokenOptions {
    pub(crate) fn token(&self) -> Result<Option<Token>, Failure> {
        let text = match &self.token_file {
            Some(path) => Some(read_line(path, "--token-file")?),
            None => std::env::var(&self.token_env).ok().filter(|token| !token.is_empty()),
        };
        let token = text.map(|text| text.parse()).transpose();
        token.map_err(|error: countersign::FieldError| Failure::input(format!("the token: {error}")))
    }

    /// The session key, if the options name one.
    fn session_key(&self) -> Result<Option<KeyText>, Failure> {
        if let Some(path) = &self.session_key_file {
            return read_line(path, "--session-key-file").map(KeyText).map(Some);
        }
        let Some(name) = &self.session_key_env else { return Ok(None) };
        // The name is not repeated: it is a key where somebody took the option for another.
        let missing =
            "there is no session key: set the environment variable of --session-key-env, or use --session-key-file";
        std::env::var(name).map(|text| Some(KeyText(text))).map_err(|_| Failure::input(missing))
    }
}

/// Reads a file of one line. The message does not name the file: it may be a secret that belongs to another option.
fn read_line(path: &Path, option: &str) -> Result<String, Failure> {
    let text = fs::read_to_string(path).map_err(|error| Failure::input(format!("{option}: {error}")))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[derive(Deserialize)]
struct KeysFile {
    apps: std::collections::HashMap<String, AppEntry>,
}

#[derive(Deserialize)]
struct AppEntry {
    #[serde(default = "enabled")]
    enabled: bool,
    keys: Vec<KeyEntry>,
}

fn enabled() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct KeyEntry {
    secret: String,
    not_before: Option<toml::value::Datetime>,
    not_after: Option<toml::value::Datetime>,
}

/// Reads the keys of an app that are active at this Unix second, from the key file of a service.
pub(crate) fn keys_of_app(path: &Path, app: &AppId, at: u64) -> Result<AppKeys, Failure> {
    let failure = |problem: String| Failure::input(format!("--keys: {problem}"));
    // The service's own reader checks the file, and names the place of a mistake.
    FileKeys::open(path).map_err(|error| failure(error.to_string()))?;
    let text = fs::read_to_string(path).map_err(|error| failure(error.to_string()))?;
    let mut file: KeysFile = toml::from_str(&text).map_err(|_| failure("the file is no key file".to_owned()))?;
    let Some(entry) = file.apps.remove(app.as_str()) else { return Ok(AppKeys::Unknown) };
    if !entry.enabled {
        return Ok(AppKeys::Disabled);
    }
    let at = i64::try_from(at).unwrap_or(i64::MAX);
    let second = |time: &toml::value::Datetime| {
        OffsetDateTime::parse(&time.to_string(), &Rfc3339).ok().map(OffsetDateTime::unix_timestamp)
    };
    let is_active = |key: &KeyEntry| {
        let begun = key.not_before.as_ref().and_then(second).is_none_or(|from| from <= at);
        begun && key.not_after.as_ref().and_then(second).is_none_or(|until| at <= until)
    };
    let active = entry.keys.into_iter().filter(is_active);
    Ok(AppKeys::Active(active.map(|key| KeyText(key.secret)).collect()))
}
