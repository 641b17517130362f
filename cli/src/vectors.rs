//! `countersign vectors`.

use std::{collections::HashMap, path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use countersign::{Explanation, Scheme, client::Comparison};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    exit::{Failure, INVALID},
    raw,
    show::{bad, comparison_json, good, print},
};

/// Worked examples for authors of clients
///
/// Examples:
///   countersign vectors print > cases.json
///   my-client-test < cases.json | countersign vectors check -
///   countersign vectors tokens > tokens.json
///   countersign vectors links > links.json
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prints the worked examples as a JSON array, with the expected `sign` of each
    Print,
    /// Prints the worked examples for tokens as a JSON object: session key, successor, line of a cookie
    Tokens,
    /// Prints the worked examples for share links as a JSON object
    Links,
    /// Checks the output of a client against the worked examples
    ///
    /// The file is a JSON array of objects with `name` and `sign`, and optionally `string_to_sign`, with which the first
    /// difference of a wrong one is named.
    Check {
        /// The file, or - for stdin
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Deserialize, Serialize)]
struct Case {
    name: String,
    note: String,
    method: String,
    target: String,
    content_type: Option<String>,
    body: String,
    audience: String,
    signed_headers: Vec<(String, Option<String>)>,
    app_id: String,
    token: String,
    key: String,
    timestamp: String,
    nonce: String,
    body_digest: String,
    string_to_sign: String,
    sign: String,
}

#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Output {
    name: String,
    sign: String,
    string_to_sign: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let cases = cases()?;
    match &arguments.command {
        Command::Print => {
            print(serde_json::to_string_pretty(&cases).map_err(|error| Failure::input(error.to_string()))?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Tokens => {
            print(include_str!("../../tests/vectors/tokens.json").trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Links => {
            print(include_str!("../../tests/vectors/links.json").trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Check { file, json } => {
            let outputs: Vec<Output> = serde_json::from_slice(&raw::read(file)?).map_err(|error| {
                Failure::input(format!("expected a JSON array of objects with `name` and `sign`: {error}"))
            })?;
            check(&cases, &outputs, *json)
        }
    }
}

fn cases() -> Result<Vec<Case>, Failure> {
    let vectors: Vectors = serde_json::from_str(include_str!("../../tests/vectors/requests.json"))
        .map_err(|error| Failure::input(error.to_string()))?;
    Ok(vectors.cases)
}

fn check(cases: &[Case], outputs: &[Output], is_json: bool) -> Result<ExitCode, Failure> {
    let by_name: HashMap<_, _> = outputs.iter().map(|output| (&*output.name, output)).collect();
    if let Some(unknown) = outputs.iter().find(|output| !cases.iter().any(|case| case.name == output.name)) {
        return Err(Failure::input(format!("there is no worked example {:?}", unknown.name)));
    }
    let mut results = Vec::new();
    for case in cases {
        let output = by_name.get(&*case.name);
        let is_right = output.is_some_and(|output| output.sign == case.sign);
        let comparison = output.filter(|_| !is_right).and_then(|output| compare(case, output));
        results.push((case, output.is_some(), is_right, comparison));
    }
    let right = results.iter().filter(|(_, _, is_right, _)| *is_right).count();
    if is_json {
        let failed = results.iter().filter(|(_, _, is_right, _)| !is_right).map(|(case, is_there, _, comparison)| {
            json!({ "name": case.name, "missing": !is_there, "comparison": comparison.as_ref().map(comparison_json) })
        });
        print(json!({ "right": right, "of": cases.len(), "failed": failed.collect::<Vec<_>>() }))?;
    } else {
        for (case, is_there, is_right, comparison) in &results {
            match (is_right, is_there, comparison) {
                (true, ..) => {}
                (_, false, _) => print(bad(&format!("{}: missing ({})", case.name, case.note)))?,
                (_, _, Some(comparison)) => print(format!("{}: {comparison}", bad(&case.name)))?,
                (_, _, None) => print(format!("{}: the sign is wrong ({})", bad(&case.name), case.note))?,
            }
        }
        let summary = format!("{right} of {} are right", cases.len());
        print(if right == cases.len() { good(&summary) } else { bad(&summary) })?;
    }
    Ok(if right == cases.len() { ExitCode::SUCCESS } else { ExitCode::from(INVALID) })
}

/// Compares the client's string with the expected one.
fn compare(case: &Case, output: &Output) -> Option<Comparison> {
    let names = case.signed_headers.iter().map(|(name, _)| name.parse()).collect::<Result<Vec<_>, _>>().ok()?;
    let scheme = Scheme::new().with_signed_headers(names).ok()?;
    let text = |text: &str| Explanation::of_text(&scheme, text.as_bytes());
    Some(Comparison::new(&text(output.string_to_sign.as_deref()?), &text(&case.string_to_sign)))
}
