//! `countersign explain`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use countersign::{Explanation, Refusal, Scheme, client::Comparison};

use crate::{
    exit::{Failure, INVALID},
    raw,
    scheme::SchemeOptions,
    show::{comparison_json, comparison_text, print},
};

/// Compares what a client signed with what a verifier compared: the first difference and its cause
///
/// SIGNED is the string that a client signed, or a request as text of HTTP/1.1. ANSWER is the response of a verifier that
/// explains (text of HTTP/1.1 or its JSON body), or another string to sign. A - stands for stdin. The lines of the key and the
/// token are never shown. The keys in COUNTERSIGN_KEY and COUNTERSIGN_SESSION_KEY and the token in COUNTERSIGN_TOKEN are hidden
/// in every other line too.
///
/// Examples:
///   countersign explain my-string.txt answer.json
///   curl -si -H … http://127.0.0.1:8080/orders | countersign explain my-string.txt -
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// The file with what the client signed
    signed: PathBuf,
    /// The file with the answer of the verifier
    answer: PathBuf,
    #[command(flatten)]
    scheme: SchemeOptions,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let scheme = arguments.scheme.scheme().unwrap_or_else(|error| Failure::usage("explain", error));
    if arguments.signed == Path::new("-") && arguments.answer == Path::new("-") {
        Failure::usage("explain", "only one of the two can be stdin");
    }
    let (signed, answer) = (raw::read(&arguments.signed)?, raw::read(&arguments.answer)?);
    let comparison = Comparison::new(&string_of(&scheme, &signed)?, &verified(&scheme, &answer)?);
    if arguments.json {
        print(comparison_json(&comparison))?;
    } else {
        print(comparison_text(&comparison))?;
        if comparison == Comparison::Same {
            print(after_same(&signed))?;
        } else if signed.ends_with(b"\n") && !raw::is_request(&signed) {
            print("note: the line end after the last line of SIGNED is not compared; it must not be signed")?;
        }
    }
    Ok(if comparison == Comparison::Same { ExitCode::SUCCESS } else { ExitCode::from(INVALID) })
}

/// What to do if the strings are the same.
fn after_same(signed: &[u8]) -> &'static str {
    if raw::is_request(signed) {
        return "note: SIGNED is a request, so only what changed on the way can be seen: give the string that the client signed";
    }
    "next: save the request as text, and run `countersign verify --keys keys.toml request.txt`; or check that the string has no line \
     end after the nonce, and that no line end follows the key"
}

/// The string that a client signed, or the one of a request. Secrets of the environment are hidden.
fn string_of(scheme: &Scheme, text: &[u8]) -> Result<Explanation, Failure> {
    if !raw::is_request(text) {
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        return Ok(Explanation::of_text(scheme, without_secrets(text).as_bytes()));
    }
    let (parts, body) = raw::request(text)?.into_parts();
    let string = Explanation::of_request(scheme, &parts, &body);
    string.map_err(|rejection| Failure::input(format!("the request has no string to sign: {rejection}")))
}

fn verified(scheme: &Scheme, text: &[u8]) -> Result<Explanation, Failure> {
    let text = without_secrets(text);
    let text = text.as_bytes();
    let refusal = if raw::is_response(text) {
        let (status, headers, body) = raw::response(text)?;
        Refusal::from_response(status, &headers, &body)
    } else if text.trim_ascii_start().starts_with(b"{") {
        of_problem(text)
    } else if text.starts_with(b"CS1-") {
        let text = without_secrets(text.strip_suffix(b"\n").unwrap_or(text));
        return Ok(Explanation::of_text(scheme, text.as_bytes()));
    } else {
        let problem = "ANSWER is neither a response, nor its JSON, nor a string to sign: are the two files swapped?";
        return Err(Failure::input(problem));
    };
    refusal.and_then(|refusal| refusal.string_to_sign().cloned()).ok_or_else(|| {
        Failure::input(
            "the answer has no string to sign: only an invalid_signature of a verifier that explains has one",
        )
    })
}

/// Hides the key and the token of the environment, wherever they occur.
fn without_secrets(text: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(text).into_owned();
    let secrets =
        [("COUNTERSIGN_KEY", "{key}"), ("COUNTERSIGN_SESSION_KEY", "{key}"), ("COUNTERSIGN_TOKEN", "{token}")];
    for (name, shown) in secrets {
        let secret = std::env::var(name).unwrap_or_default();
        let bare = secret.split_once(':').map_or(&*secret, |(_, bare)| bare);
        if bare.len() >= 8 {
            text = text.replace(bare, shown);
        }
    }
    text
}

/// Reads the body of a refusal without its headers.
fn of_problem(body: &[u8]) -> Option<Refusal> {
    let headers = [("content-type", "application/problem+json"), ("x-error-code", "invalid_signature")];
    let headers =
        headers.map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)));
    Refusal::from_response(http::StatusCode::UNAUTHORIZED, &headers.into_iter().collect(), body)
}
