//! `countersign verify`.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anstream::println;
use bytes::Bytes;
use clap::Args;
use countersign::{
    Caller, Explanation, Field, Rejection, RejectionKind, StaticKeys, Verifier,
    clock::{Clock, ManualClock, SystemClock},
    protocol::Claim,
    server::UnverifiedBody,
};
use http::Request;
use http_body_util::Full;
use serde_json::json;

use crate::{
    exit::{Failure, INVALID},
    key::KeyOptions,
    raw,
    scheme::{PREFIX, SchemeOptions},
    show::{bad, good},
    spelling,
};

/// Verifies a request that was saved as text
///
/// Reads HTTP/1.1 as text: the request line, headers, an empty line and the body. The verdict is that of the moment at which
/// the request was signed, and the age of the request is shown apart. Nonces are not remembered.
///
/// Examples:
///   countersign verify --app demo request.txt
///   nc -l 8080 | countersign verify --app demo -
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
    let verifier = Verifier::new(arguments.key.static_keys()?).with_scheme(scheme.clone()).with_explanations();
    let verifier = verifier.with_prefix(&arguments.prefix).unwrap_or_else(|_| Failure::usage("verify", PREFIX));
    let (parts, body) = raw::request(&raw::read(&arguments.file)?)?.into_parts();
    let string = Explanation::of_request(&scheme, &parts, &body).ok();
    let claim = Claim::extract(&scheme, &parts.uri, &parts.headers).ok();
    let text = |field| parts.headers.get(scheme.header_name(field))?.to_str().ok().map(str::to_owned);
    let (sign, token) = (text(Field::Sign), text(Field::Token));
    let verdict = verify(verifier, claim.as_ref(), Request::from_parts(parts, body)).await?;
    // With a prefix, the string of the verdict is the one that was compared.
    let compared = verdict.as_ref().err().and_then(Rejection::string_to_sign).map(Explanation::of_response);
    let string = compared.or(string);
    let is_wrong = matches!(&verdict, Err(rejection) if rejection.kind() == RejectionKind::InvalidSignature);
    let mistake = match (&string, sign) {
        (Some(string), Some(sign)) if is_wrong => {
            spelling::mistake(string, &token.unwrap_or_default(), &arguments.key.text()?, &sign)
        }
        _ => None,
    };
    let age = claim.map(|claim| age(claim.timestamp().unix_seconds()));
    if arguments.json {
        let rejection = verdict.as_ref().err();
        println!(
            "{}",
            json!({
                "valid": verdict.is_ok(),
                "app_id": verdict.as_ref().ok().map(|caller| caller.app_id().as_str()),
                "code": rejection.map(|rejection| rejection.kind().code()),
                "detail": rejection.map(Rejection::detail),
                "age": age,
                "string_to_sign": string.as_ref().map(Explanation::as_str),
                "mistake": mistake,
            })
        );
    } else {
        show(&verdict, age, string.as_ref(), mistake.as_deref());
    }
    Ok(if verdict.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(INVALID) })
}

/// Verifies the request at the time at which it was signed.
async fn verify(
    verifier: Verifier<StaticKeys>,
    claim: Option<&Claim>,
    request: Request<Bytes>,
) -> Result<Result<Caller, Rejection>, Failure> {
    let signed_at = claim.map_or_else(|| SystemClock::new().wall().as_secs(), |claim| claim.timestamp().unix_seconds());
    let clock = ManualClock::at(signed_at.saturating_sub(60));
    let verifier = verifier.with_clock(clock.clone());
    // A verifier that has just started rejects earlier timestamps.
    clock.advance(Duration::from_secs(60));
    let request = request.map(|body| UnverifiedBody::new(Full::new(body)));
    match verifier.verify(request).await {
        Ok(request) => request.extensions().get().cloned().map(Ok).ok_or_else(|| Failure::input("there is no caller")),
        Err(rejection) => Ok(Err(rejection)),
    }
}

/// The age of a request in seconds. It is negative if the timestamp is ahead of this clock.
fn age(timestamp: u64) -> i64 {
    let now = SystemClock::new().wall().as_secs();
    i64::try_from(now).unwrap_or(i64::MAX).saturating_sub_unsigned(timestamp)
}

fn show(verdict: &Result<Caller, Rejection>, age: Option<i64>, string: Option<&Explanation>, mistake: Option<&str>) {
    match verdict {
        Ok(caller) => println!("{}", good(&format!("valid: the signature is that of {}", caller.app_id()))),
        Err(rejection) => println!("{}", bad(&format!("not valid: {rejection}"))),
    }
    match age {
        Some(age) if age.unsigned_abs() > 300 => {
            println!("age: {age} s, so a verifier refuses it now as stale_timestamp");
        }
        Some(age) => println!("age: {age} s"),
        None => {}
    }
    if let Some(mistake) = mistake {
        println!("cause: {mistake}");
    }
    if let Some(string) = string {
        println!("\nThe string to sign of this request:\n\n{string}");
    }
}
