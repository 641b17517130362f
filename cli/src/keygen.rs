//! `countersign keygen`.

use std::process::ExitCode;

use clap::Args;
use countersign::AppId;
use serde_json::json;

use crate::{exit::Failure, show::print};

/// Makes a random key
///
/// Prints 64 hex digits, which client and service use as text. With --toml it prints the entry of an app for the key file
/// of a service.
///
/// Examples:
///   export COUNTERSIGN_KEY=$(countersign keygen)
///   countersign keygen --toml demo >> keys.toml
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// The number of random bytes, each of which is two digits
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(16..=1024))]
    bytes: u16,
    /// Print an entry for the key file of a service, for this app
    #[arg(long, value_name = "ID")]
    toml: Option<AppId>,
    /// Print JSON
    #[arg(long, conflicts_with = "toml")]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let mut bytes = vec![0; arguments.bytes.into()];
    getrandom::fill(&mut bytes).map_err(|error| Failure::input(format!("the system gave no random bytes: {error}")))?;
    let key = hex::encode(bytes);
    match &arguments.toml {
        Some(app) => print(format!("[apps.\"{app}\"]\nkeys = [{{ secret = \"text:{key}\" }}]"))?,
        None if arguments.json => print(json!({ "key": key }))?,
        None => print(key)?,
    }
    Ok(ExitCode::SUCCESS)
}
