//! `countersign send`.

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anstream::eprintln;
use clap::Args;
use countersign::{Field, Refusal, RejectionKind, ResponseError, SendError, SignLayer};
use http::HeaderName;
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::{Body, Client, Request, Response, Url, redirect::Policy};
use serde_json::json;
use tokio_util::io::ReaderStream;
use tower::{Layer, ServiceExt};

use crate::{
    exit::{ERROR_STATUS, Failure, INPUT, NO_ANSWER, REFUSED},
    key::{KeyOptions, TokenOptions},
    request::RequestOptions,
    scheme::SchemeOptions,
    show::{bad, comparison_text, header_text, headers_json, json_text, print, refusal_json},
};

/// Signs a request, sends it, shows the response, and explains a refusal
///
/// The body of the response goes to stdout, and all else to stderr. Redirects are not followed.
///
/// Examples:
///   countersign send --app demo http://127.0.0.1:8080/orders?side=BUY
///   countersign send --app demo -d '{"amount":10}' -H 'content-type: application/json' https://api.example.com/orders
///   countersign send --app demo -X PUT --data-file video.mp4 https://api.example.com/files/1
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
    /// Print the status and the headers of the response too
    #[arg(short, long)]
    include: bool,
    /// Write the body of the response to this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print status, headers, body and refusal as JSON
    #[arg(long, conflicts_with_all = ["include", "output"])]
    json: bool,
    /// If the timestamp is refused, sign again with the clock of the service, over https
    #[arg(long)]
    correct_clock: bool,
    /// The same over http too, where anybody on the way can set the clock
    #[arg(long, conflicts_with = "correct_clock")]
    insecure_correct_clock: bool,
    /// Accept only a response that the service has signed, of at most 64 MiB. Otherwise the outcome is unknown
    #[arg(long)]
    require_signed: bool,
    /// The longest time for the whole exchange
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    max_time: u64,
}

pub(crate) async fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let scheme = arguments.scheme.scheme().unwrap_or_else(|error| Failure::usage("send", error));
    let digest_header = scheme.header_name(Field::BodyDigest).clone();
    let layer = SignLayer::new(arguments.key.signer("send", scheme, &arguments.token)?);
    let layer = match (arguments.correct_clock, arguments.insecure_correct_clock) {
        (true, _) => layer.with_clock_correction(),
        (_, true) => layer.with_insecure_clock_correction(),
        _ => layer,
    };
    let (request, progress) = request(&arguments.request, &digest_header).await?;
    // Another part of the program may have installed a provider before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().redirect(Policy::none()).timeout(Duration::from_secs(arguments.max_time)).build();
    let client = client.map_err(|error| Failure::new(NO_ANSWER, error.to_string()))?;
    let response = match arguments.require_signed {
        true => {
            let layer = layer.require_signed_responses().with_max_response(MAX_JSON_BODY as u64);
            layer.layer(client).oneshot(request).await
        }
        false => layer.layer(client).oneshot(request).await,
    };
    if let Some(progress) = progress {
        progress.finish_and_clear();
    }
    let response = response.map_err(no_answer)?;
    show(arguments, response).await
}

async fn request(
    options: &RequestOptions,
    digest_header: &HeaderName,
) -> Result<(Request, Option<ProgressBar>), Failure> {
    let url: Url = options.url.parse().map_err(|error| Failure::input(format!("the URL: {error}")))?;
    let mut request = Request::new(options.method(), url);
    *request.headers_mut() = options.headers()?;
    let body = options.body()?;
    let mut progress = None;
    if let (Some(path), Some(digest)) = (&options.data_file, options.file_digest()?) {
        let failure = |error: std::io::Error| Failure::input(format!("--data-file: {error}"));
        let file = tokio::fs::File::open(path).await.map_err(failure)?;
        let length = file.metadata().await.map_err(failure)?.len();
        let bar = progress_bar(length);
        request
            .headers_mut()
            .insert(digest_header, digest.to_string().parse().map_err(|_| Failure::input("the digest"))?);
        request.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
        *request.body_mut() =
            Some(Body::wrap_stream(ReaderStream::with_capacity(bar.wrap_async_read(file), 64 * 1024)));
        progress = Some(bar);
    } else if !body.is_empty() {
        *request.body_mut() = Some(body.into());
    }
    Ok((request, progress))
}

/// The progress of an upload of more than a megabyte. It is shown on a terminal alone.
fn progress_bar(length: u64) -> ProgressBar {
    if length < 1024 * 1024 || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left");
    ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// The errors of reqwest contain the URL, which has the signature and the token if the query carries them.
fn no_answer(error: SendError) -> Failure {
    let text = match error {
        SendError::Sign(error) => return Failure::new(INPUT, error.to_string()),
        SendError::Client(error) => match error.downcast::<reqwest::Error>() {
            Ok(error) => causes(&error.without_url()),
            Err(error) => causes(&*error),
        },
        SendError::OutcomeUnknown { error, refusal, .. } => return outcome_unknown(&error, refusal.as_deref()),
        other => other.to_string(),
    };
    Failure::new(NO_ANSWER, format!("there was no answer: {text}"))
}

/// The request was sent, and the response is not proved to be the service's.
fn outcome_unknown(error: &ResponseError, refusal: Option<&Refusal>) -> Failure {
    let claim = refusal.map_or(String::new(), |refusal| format!("\nThe unsigned response says: {refusal}"));
    Failure::new(NO_ANSWER, format!("the outcome of the request is unknown: {}{claim}", causes(error)))
}

async fn show(arguments: &Arguments, mut response: Response) -> Result<ExitCode, Failure> {
    let (status, headers) = (response.status(), response.headers().clone());
    let is_error = status.as_u16() >= 400;
    let refusal =
        response.extensions().get::<Refusal>().filter(|refusal| refusal.kind().is_some() && is_error).cloned();
    if arguments.json {
        let body = read_all(&mut response).await?;
        let (text, refusal) = (String::from_utf8_lossy(&body), refusal.as_ref().map(refusal_json));
        let headers = headers_json(&headers);
        print(json_text(&json!({ "status": status.as_u16(), "headers": headers, "body": text, "refusal": refusal })))?;
    } else {
        if arguments.include {
            eprintln!("{:?} {status}", response.version());
            headers.iter().for_each(|(name, value)| eprintln!("{name}: {}", header_text(value)));
            eprintln!();
        }
        match (&arguments.output, &refusal) {
            (Some(path), _) => write_to(&mut response, &mut std::fs::File::create(path).map_err(not_written)?).await?,
            (None, None) => write_to(&mut response, &mut std::io::stdout()).await?,
            (None, Some(_)) => {}
        }
        if let Some(refusal) = &refusal {
            explain(refusal);
        } else if is_error && !arguments.include {
            eprintln!("{}", bad(&format!("the service answered with {status}")));
        }
    }
    Ok(match refusal {
        Some(_) => ExitCode::from(REFUSED),
        None if is_error => ExitCode::from(ERROR_STATUS),
        None => ExitCode::SUCCESS,
    })
}

async fn read_all(response: &mut Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = chunk(response).await? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_JSON_BODY {
            return Err(Failure::new(NO_ANSWER, "the response has more than 64 MiB: use -o without --json"));
        }
    }
    Ok(body)
}

/// The largest body that is printed as JSON, or whose signature is checked, in bytes.
const MAX_JSON_BODY: usize = 64 * 1024 * 1024;

/// Writes the body as it arrives.
async fn write_to(response: &mut Response, out: &mut impl Write) -> Result<(), Failure> {
    while let Some(chunk) = chunk(response).await? {
        match out.write_all(&chunk) {
            // The reader of a pipe has seen enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            result => result.map_err(not_written)?,
        }
    }
    out.flush().or_else(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(not_written(error)),
    })
}

async fn chunk(response: &mut Response) -> Result<Option<bytes::Bytes>, Failure> {
    let broken = |error: reqwest::Error| format!("the response broke off: {}", causes(&error.without_url()));
    response.chunk().await.map_err(|error| Failure::new(NO_ANSWER, broken(error)))
}

fn not_written(error: std::io::Error) -> Failure {
    Failure::new(INPUT, format!("the response was not written: {error}"))
}

/// Shows why the service refused the request.
fn explain(refusal: &Refusal) {
    eprintln!("{}", bad(&format!("refused with {}: {}", refusal.status(), refusal.code())));
    match refusal.comparison() {
        Some(comparison) => eprintln!("{}", comparison_text(comparison)),
        None => eprintln!("{}", refusal.to_string().split_once(": ").map_or("", |(_, reason)| reason)),
    }
    if refusal.comparison().is_none() && refusal.kind() == Some(RejectionKind::InvalidSignature) {
        eprintln!("This service does not explain signatures: compare with `countersign serve`, or ask its operator.");
    }
}

/// An error with its causes.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}
