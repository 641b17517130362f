//! `countersign sign`.

use std::process::ExitCode;

use clap::Args;
use countersign::{Explanation, Nonce, Payload, Timestamp};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, request::Parts};
use serde_json::json;

use crate::{
    exit::Failure,
    key::{KeyOptions, TokenOptions},
    request::RequestOptions,
    scheme::SchemeOptions,
    show::{header_text, headers_json, print},
};

/// Signs a request and prints its headers, a curl command or the string to sign
///
/// Each signature is accepted once, for five minutes.
///
/// Examples:
///   countersign sign --app demo https://api.example.com/orders
///   countersign sign --app demo --session-key-env COUNTERSIGN_SESSION_KEY https://api.example.com/me
///   eval "$(countersign sign --app demo --curl -d '{"amount":10}' -H 'content-type: application/json' https://api.example.com/orders)"
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    #[command(flatten)]
    request: RequestOptions,
    #[command(flatten)]
    key: KeyOptions,
    #[command(flatten)]
    token: TokenOptions,
    #[command(flatten)]
    scheme: SchemeOptions,
    /// Print a curl command that sends the request
    #[arg(long, conflicts_with_all = ["string", "json"])]
    curl: bool,
    /// Print the string to sign, with names in place of the key and the token
    #[arg(long, conflicts_with = "json")]
    string: bool,
    /// Print method, URL and headers as JSON
    #[arg(long)]
    json: bool,
    /// The timestamp, in Unix seconds; by default now
    #[arg(long, value_name = "SECONDS")]
    at: Option<Timestamp>,
    /// The nonce; by default a random one
    #[arg(long, value_name = "TEXT", requires = "at")]
    nonce: Option<Nonce>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let options = &arguments.request;
    let scheme = arguments.scheme.scheme().unwrap_or_else(|error| Failure::usage("sign", error));
    let signer = arguments.key.signer("sign", scheme.clone(), &arguments.token)?;
    let body = options.body()?;
    let (mut parts, ()) = Request::builder()
        .method(options.method())
        .uri(&*options.url)
        .body(())
        .map_err(|error| Failure::input(format!("the URL: {error}")))?
        .into_parts();
    parts.headers = options.headers()?;
    let before = parts.headers.clone();
    let digest = options.file_digest()?;
    let payload = digest.map_or(Payload::Bytes(body.as_bytes()), Payload::Digest);
    let signed = match (arguments.at, &arguments.nonce) {
        (Some(timestamp), Some(nonce)) => signer.sign_at(&mut parts, payload, timestamp, nonce.clone()),
        (Some(timestamp), None) => {
            Nonce::random().and_then(|nonce| signer.sign_at(&mut parts, payload, timestamp, nonce))
        }
        (None, _) => signer.sign_parts(&mut parts, payload),
    };
    signed.map_err(|error| Failure::input(error.to_string()))?;
    if arguments.string {
        let string = Explanation::of_request(&scheme, &parts, body.as_bytes());
        print(string.map_err(|rejection| Failure::input(rejection.to_string()))?)?;
    } else if arguments.curl {
        print(curl(&parts, options, &body))?;
    } else if arguments.json {
        let headers = headers_json(&parts.headers);
        print(json!({ "method": parts.method.as_str(), "url": parts.uri.to_string(), "headers": headers }))?;
    } else {
        if parts.uri.to_string() != options.url && scheme.field_location() == countersign::FieldLocation::Query {
            print(parts.uri)?;
        }
        print_new(&parts.headers, &before)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the headers that the signature adds.
fn print_new(headers: &HeaderMap, before: &HeaderMap) -> Result<(), Failure> {
    let is_new = |(name, value): &(&HeaderName, &HeaderValue)| !before.get_all(*name).iter().any(|old| old == value);
    for (name, value) in headers.iter().filter(is_new) {
        print(format!("{name}: {}", header_text(value)))?;
    }
    Ok(())
}

/// The command that sends exactly what is signed. The headers go in by a here-document, since other users of the machine can
/// read arguments.
fn curl(parts: &Parts, options: &RequestOptions, body: &str) -> String {
    let method = match parts.method {
        // With -X HEAD, curl waits for a body.
        Method::HEAD => "--head".to_owned(),
        _ => format!("-X {}", quoted(parts.method.as_str())),
    };
    let mut command = format!("curl -sS --path-as-is --globoff {method} -H @-");
    let has_body = options.data_file.is_some() || !body.is_empty();
    let mut headers = String::new();
    for (name, value) in &parts.headers {
        // curl leaves out a header whose colon nothing follows.
        let header = if value.is_empty() { format!("{name};") } else { format!("{name}: {}", header_text(value)) };
        headers += &format!("{header}\n");
    }
    // With a body, curl adds a content type that is not signed.
    if has_body && !parts.headers.contains_key(http::header::CONTENT_TYPE) {
        headers += "content-type:\n";
    }
    match &options.data_file {
        Some(path) => command += &format!(" --data-binary {}", quoted(&format!("@{}", path.display()))),
        None if !body.is_empty() => command += &format!(" --data-raw {}", quoted(body)),
        None => {}
    }
    format!("{command} {} <<'END_OF_HEADERS'\n{headers}END_OF_HEADERS", quoted(&parts.uri.to_string()))
}

/// Quotes a word for a POSIX shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
