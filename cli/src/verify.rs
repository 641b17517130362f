//! `countersign verify`.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use bytes::Bytes;
use clap::Args;
use countersign::{
    AppId, Caller, Explanation, Field, Rejection, RejectionKind, Scheme, StaticKeys, Verifier,
    clock::{Clock, ManualClock, SystemClock},
    protocol::Claim,
    server::UnverifiedBody,
    store::{DynKeyStore, FileKeys},
};
use http::{Request, request::Parts};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::{
    exit::{Failure, INVALID},
    key::{AppKeys, KeyOptions, keys_of_app},
    raw,
    scheme::{PREFIX, SchemeOptions},
    show::{bad, good, print},
    spelling,
};

/// Verifies a request that was saved as text
///
/// Reads HTTP/1.1 as text: the request line, headers, an empty line and the body. The verdict is that of the moment at which
/// the request was signed, and the age of the request is shown apart. Nonces are not remembered.
///
/// With --keys, it also tells whether the app is unknown or disabled. Without --app, the key is taken for that of the request's
/// app.
///
/// Examples:
///   countersign verify --keys keys.toml request.txt
///   nc -l 8080 | countersign verify -
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// The file with the request, or - for stdin
    #[arg(default_value = "-")]
    file: PathBuf,
    #[command(flatten)]
    key: KeyOptions,
    #[command(flatten)]
    scheme: SchemeOptions,
    /// The start of the path that a proxy removes, /api for example
    #[arg(long, value_name = "PATH", default_value = "")]
    prefix: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let scheme = arguments.scheme.scheme().unwrap_or_else(|error| Failure::usage("verify", error));
    let is_prefix = |prefix: &str| prefix.is_empty() || (prefix.starts_with('/') && !prefix.ends_with('/'));
    if !is_prefix(&arguments.prefix) {
        Failure::usage("verify", PREFIX);
    }
    let (parts, body) = raw::request(&raw::read(&arguments.file)?)?.into_parts();
    let claim = Claim::extract(&scheme, &parts.uri, &parts.headers).ok();
    let signed_at = claim.as_ref().map_or_else(now, |claim| claim.timestamp().unix_seconds());
    let string = Explanation::of_request(&scheme, &parts, &body).ok();
    let sign = signature(&scheme, &parts);
    let token = claim.as_ref().map(|claim| claim.token_line().to_owned());
    let keys = arguments.key_store(claim.as_ref())?;
    let verdict = verify(keys, &scheme, &arguments.prefix, signed_at, Request::from_parts(parts, body)).await?;
    // With a prefix, the string of the verdict is the one that was compared.
    let compared = verdict.as_ref().err().and_then(Rejection::string_to_sign).map(Explanation::of_response);
    let string = compared.or(string);
    let cause = match (&verdict, &claim) {
        (Err(rejection), Some(claim)) if rejection.kind() == RejectionKind::InvalidSignature => {
            Some(arguments.cause(claim.app_id(), signed_at, string.as_ref(), token.as_deref(), sign.as_deref())?)
        }
        _ => None,
    };
    let report =
        Report { verdict: &verdict, age: claim.as_ref().map(|_| age(signed_at)), string: string.as_ref(), cause };
    match arguments.json {
        true => print(report.json())?,
        false => report.print_text(&scheme, &arguments.prefix)?,
    }
    Ok(if verdict.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(INVALID) })
}

/// Why a signature is invalid.
struct Cause {
    code: &'static str,
    text: String,
}

impl Arguments {
    /// The keys of the key file, or the one key.
    fn key_store(&self, claim: Option<&Claim>) -> Result<Box<dyn DynKeyStore>, Failure> {
        if let Some(path) = &self.key.keys {
            let keys = FileKeys::open(path).map_err(|error| Failure::input(format!("--keys: {error}")))?;
            return Ok(Box::new(keys));
        }
        let secret = self.key.single()?.secret()?;
        let app = self.key.app.as_ref().or(claim.map(Claim::app_id));
        let keys = StaticKeys::new(app.map(|app| (app.clone(), secret)));
        Ok(Box::new(keys.map_err(|error| Failure::input(error.to_string()))?))
    }

    fn cause(
        &self,
        app: &AppId,
        at: u64,
        string: Option<&Explanation>,
        token: Option<&str>,
        sign: Option<&str>,
    ) -> Result<Cause, Failure> {
        if let Some(expected) = self.key.app.as_ref().filter(|expected| *expected != app) {
            return Ok(Cause {
                code: "another_app",
                text: format!("the request is of the app {app}, not of {expected}"),
            });
        }
        let keys = match &self.key.keys {
            None => vec![self.key.single()?],
            Some(path) => match keys_of_app(path, app, at)? {
                AppKeys::Unknown => {
                    return Ok(Cause { code: "unknown_app", text: format!("there is no app {app} in the key file") });
                }
                AppKeys::Disabled => {
                    return Ok(Cause {
                        code: "app_disabled",
                        text: format!("the app {app} is disabled in the key file"),
                    });
                }
                AppKeys::Active(keys) if keys.is_empty() => {
                    return Ok(Cause { code: "no_active_key", text: format!("the app {app} had no active key then") });
                }
                AppKeys::Active(keys) => keys,
            },
        };
        let parts = string.zip(sign);
        let mistake = parts.and_then(|(string, sign)| {
            keys.iter().find_map(|key| spelling::mistake(string, token.unwrap_or_default(), key, sign))
        });
        let other = || {
            "the client signed another string or with another key: compare its string with the one below (`countersign explain`); \
             if they are the same, run this command with the client's own key (--key-file): if the request is valid then, the \
             keys differ"
                .to_owned()
        };
        Ok(match mistake {
            Some(text) => Cause { code: "key_spelling", text },
            None => Cause { code: "string_or_key", text: other() },
        })
    }
}

/// Verifies the request at the time at which it was signed.
async fn verify(
    keys: Box<dyn DynKeyStore>,
    scheme: &Scheme,
    prefix: &str,
    signed_at: u64,
    request: Request<Bytes>,
) -> Result<Result<Caller, Rejection>, Failure> {
    let clock = ManualClock::at(signed_at.saturating_sub(60));
    let verifier = Verifier::new(keys).with_scheme(scheme.clone()).with_explanations().with_clock(clock.clone());
    let verifier = verifier.with_prefix(prefix).map_err(|_| Failure::input(PREFIX))?;
    // A verifier that has just started rejects earlier timestamps.
    clock.advance(Duration::from_secs(60));
    let request = request.map(|body| UnverifiedBody::new(Full::new(body)));
    match verifier.verify(request).await {
        Ok(request) => request.extensions().get().cloned().map(Ok).ok_or_else(|| Failure::input("there is no caller")),
        Err(rejection) => Ok(Err(rejection)),
    }
}

/// The signature of the request, in a header or in the query.
fn signature(scheme: &Scheme, parts: &Parts) -> Option<String> {
    let header = parts.headers.get(scheme.header_name(Field::Sign)).and_then(|sign| sign.to_str().ok());
    let parameter = || {
        let name = scheme.parameter_name(Field::Sign)?;
        let pairs = parts.uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(key, _)| *key == name).map(|(_, sign)| sign)
    };
    header.or_else(parameter).map(str::to_owned)
}

fn now() -> u64 {
    SystemClock::new().wall().as_secs()
}

/// The age of a request in seconds. It is negative if the timestamp is ahead of this clock.
fn age(timestamp: u64) -> i64 {
    i64::try_from(now()).unwrap_or(i64::MAX).saturating_sub_unsigned(timestamp)
}

struct Report<'a> {
    verdict: &'a Result<Caller, Rejection>,
    age: Option<i64>,
    string: Option<&'a Explanation>,
    cause: Option<Cause>,
}

impl Report<'_> {
    fn json(&self) -> Value {
        let (caller, rejection) = (self.verdict.as_ref().ok(), self.verdict.as_ref().err());
        json!({
            "valid": caller.is_some(),
            "app_id": caller.map(|caller| caller.app_id().as_str()),
            "code": rejection.map(|rejection| rejection.kind().code()),
            "detail": rejection.map(Rejection::detail),
            "cause": self.cause.as_ref().map(|cause| cause.code),
            "advice": self.cause.as_ref().map(|cause| &*cause.text),
            "age": self.age,
            "string_to_sign": self.string.map(Explanation::as_str),
        })
    }

    fn print_text(&self, scheme: &Scheme, prefix: &str) -> Result<(), Failure> {
        match (self.verdict, &self.cause) {
            (Ok(caller), _) => {
                print(good(&format!("valid: the signature is that of {}", caller.app_id())))?;
                let audience = scheme.audience();
                print(format!(
                    "with the audience {audience:?} and the prefix {prefix:?}: if the service refuses it, compare these"
                ))?;
            }
            (Err(rejection), None) => print(bad(&format!("not valid: {rejection}")))?,
            (Err(rejection), Some(cause)) => {
                print(bad(&format!("not valid: {}", rejection.kind().code())))?;
                print(format!("cause: {}: {}", cause.code, cause.text))?;
            }
        }
        match self.age {
            Some(age) if age.unsigned_abs() > 300 => {
                print(format!("age: {age} s, so a verifier refuses it now as stale_timestamp"))?;
            }
            Some(age) => print(format!("age: {age} s"))?,
            None => {}
        }
        if let Some(string) = self.string {
            print(format!("\nThe string to sign of this request:\n\n{string}"))?;
        }
        Ok(())
    }
}
