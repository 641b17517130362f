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
    show::{comparison_json, comparison_text},
};

/// Compares what a client signed with what a verifier compared: the first difference and its cause
///
/// SIGNED is the string that a client signed, or a request as text of HTTP/1.1. ANSWER is the response of a verifier that
/// explains (text of HTTP/1.1 or its JSON body), or another string to sign. A - stands for stdin.
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
    let signed = signed(&scheme, &raw::read(&arguments.signed)?)?;
    let verified = verified(&scheme, &raw::read(&arguments.answer)?)?;
    let comparison = Comparison::new(&signed, &verified);
    match arguments.json {
        true => println!("{}", comparison_json(&comparison)),
        false => anstream::println!("{}", comparison_text(&comparison)),
    }
    Ok(if comparison == Comparison::Same { ExitCode::SUCCESS } else { ExitCode::from(INVALID) })
}

fn signed(scheme: &Scheme, text: &[u8]) -> Result<Explanation, Failure> {
    if !raw::is_request(text) {
        return Ok(Explanation::of_text(scheme, text));
    }
    let (parts, body) = raw::request(text)?.into_parts();
    let string = Explanation::of_request(scheme, &parts, &body);
    string.map_err(|rejection| Failure::input(format!("the request has no string to sign: {rejection}")))
}

fn verified(scheme: &Scheme, text: &[u8]) -> Result<Explanation, Failure> {
    let refusal = if raw::is_response(text) {
        let (status, headers, body) = raw::response(text)?;
        Some(Refusal::from_response(status, &headers, &body))
    } else if text.trim_ascii_start().starts_with(b"{") {
        Some(of_problem(text))
    } else {
        None
    };
    match refusal {
        None => Ok(Explanation::of_text(scheme, text)),
        Some(refusal) => refusal.and_then(|refusal| refusal.string_to_sign().cloned()).ok_or_else(|| {
            Failure::input(
                "the answer has no string to sign: only an invalid_signature of a verifier that explains has one",
            )
        }),
    }
}

/// Reads the body of a refusal without its headers.
fn of_problem(body: &[u8]) -> Option<Refusal> {
    let headers = [("content-type", "application/problem+json"), ("x-error-code", "invalid_signature")];
    let headers =
        headers.map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)));
    Refusal::from_response(http::StatusCode::UNAUTHORIZED, &headers.into_iter().collect(), body)
}
