//! `countersign presign`.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use countersign::{GrantToken, Timestamp};
use http::Uri;
use serde_json::json;

use crate::{exit::Failure, key::KeyOptions, links::LinkOptions, scheme::SchemeOptions, show::print};

/// Signs a share link and prints its URL
///
/// Anyone who has the link can open it with GET or HEAD until its lifetime is over. The service must accept links. Only a key of
/// the app signs links, so there are no options for a token.
///
/// Examples:
///   countersign presign --app demo --lifetime 3600 'https://api.example.com/orders/17?format=pdf'
///   countersign presign --app demo --lifetime 600 --one-time https://api.example.com/orders/17
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// The URL to share, or its path and query
    url: String,
    /// How long the link can be opened, at most 604800
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=604_800))]
    lifetime: u64,
    /// Make a link that can be opened once; the service needs a shared nonce store
    #[arg(long)]
    one_time: bool,
    /// The grant that the service gave, by which it can end the link; a grant opens nothing without the app's key
    #[arg(long, value_name = "TEXT")]
    grant: Option<GrantToken>,
    /// Print the URL and the end of the link, in Unix seconds, as JSON
    #[arg(long)]
    json: bool,
    /// The timestamp, in Unix seconds; by default now
    #[arg(long, value_name = "SECONDS", conflicts_with = "one_time")]
    at: Option<Timestamp>,
    #[command(flatten)]
    key: KeyOptions,
    #[command(flatten)]
    scheme: SchemeOptions,
    #[command(flatten)]
    links: LinkOptions,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let scheme = arguments.scheme.scheme().and_then(|scheme| arguments.links.add_to(scheme));
    let signer =
        arguments.key.app_signer("presign", scheme.unwrap_or_else(|error| Failure::usage("presign", error)))?;
    let uri: Uri = arguments.url.parse().map_err(|error| Failure::input(format!("the URL: {error}")))?;
    let mut presign = signer.presign(&uri, Duration::from_secs(arguments.lifetime));
    if let Some(grant) = &arguments.grant {
        // Only the service knows the end of its grant.
        presign = presign.with_grant(grant, u64::MAX);
    }
    let link = match arguments.at {
        Some(timestamp) => presign.sign_at(timestamp, None),
        None if arguments.one_time => presign.one_time().sign(),
        None => presign.sign(),
    };
    let link = link.map_err(|error| Failure::input(error.to_string()))?;
    match arguments.json {
        true => print(json!({ "url": link.to_string(), "expires_at": link.expires_at() }))?,
        false => print(link)?,
    }
    Ok(ExitCode::SUCCESS)
}
