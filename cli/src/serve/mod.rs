//! `countersign serve`: the echo server, to write clients against.

mod echo;
#[path = "../../../examples/prometheus/exporter.rs"]
mod exporter;
mod tokens;

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use anstream::{eprintln, println};
use axum::{Router, extract::DefaultBodyLimit, middleware};
use clap::{ArgGroup, Args, ValueEnum};
use countersign::{
    AppId, KeyRing, Limits, ParameterPolicy, Secret, SignResponsesLayer, StaticKeys, Verifier,
    server::Outcome,
    store::{DynKeyStore, DynNonceStore, FileKeys, MemoryNonceStore, RedisNonceStore},
};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::net::TcpListener;

use self::tokens::{ServeTokenOptions, TokenService};
use crate::{
    exit::{Failure, INVALID},
    key::KeyText,
    scheme::{PREFIX, SchemeOptions},
};

/// Runs an echo server, which answers a signed request with the parts that arrived
///
/// The first line on stdout is `listening on http://ADDR`. `GET /health` needs no signature and answers how many requests
/// the service has accepted. Every other path and method is behind the verifier. With --metrics, the second line is
/// `metrics on http://ADDR/metrics`, which is Prometheus text.
///
/// Each refusal is a line on stderr. An invalid signature is explained to its sender: the response has the string to sign.
///
/// With --tokens, the server issues tokens, and refuses every other token. The echo then has the session, and never a token:
///   POST /_tokens                    by a key of the app: issues a token. The body is JSON with any of user, device,
///                                    ttl, one_time, bearer and cookie; without user it is an API token
///   POST /_tokens/renew              the successor of the token, and its session key
///   POST /_tokens/renew/cookie       sets the cookie to the successor, after the call above
///   DELETE /_tokens                  ends the session of the token
///   GET /_sessions                   the sessions of the user
///   DELETE /_sessions                ends the other sessions of the user
///   DELETE /_sessions/ID             ends one of them
///   DELETE /_users/USER/sessions     by a key of an app: ends all sessions of a user
///   GET /_bearer                     without a signature: shows the session of a bearer token
///
/// Examples:
///   COUNTERSIGN_KEY=0123456789abcdef0123456789abcdef countersign serve --app demo
///   countersign serve --keys keys.toml
///   countersign serve --app demo --tokens --session-keys
#[derive(Args)]
#[command(verbatim_doc_comment, group(ArgGroup::new("apps").required(true)))]
pub(crate) struct Arguments {
    /// Where to listen; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// An app whose key is in COUNTERSIGN_KEY; or an app and its secrets for tests, which other users can read; repeatable
    #[arg(long, value_name = "ID[:SECRET[,SECRET...]]", group = "apps")]
    app: Vec<String>,
    /// The apps and keys of a TOML file, which is read again when it changes; in place of --app
    #[arg(long, value_name = "FILE", group = "apps")]
    keys: Option<PathBuf>,
    /// How far a timestamp may lie from this clock, either way
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    tolerance: u32,
    /// How many nonces to remember at a time
    #[arg(
        long,
        value_name = "N",
        default_value_t = MemoryNonceStore::DEFAULT_CAPACITY as u64,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    max_nonces: u64,
    /// Remember nonces in this Redis, together with others: redis://HOST:PORT/ or redis+unix:///PATH
    #[arg(long, value_name = "URL", conflicts_with = "max_nonces")]
    redis: Option<String>,
    /// The address of the metrics, at /metrics
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,
    /// The largest body that is taken
    #[arg(long, value_name = "BYTES", default_value_t = Limits::new().body())]
    body_limit: u64,
    /// How the parameters reach the service
    #[arg(long, value_enum, default_value_t = ParametersArgument::Stripped)]
    parameters: ParametersArgument,
    /// The start of the path that a proxy removes, /api for example
    #[arg(long, value_name = "PATH", default_value = "")]
    prefix: String,
    /// Do not send the string to sign with the refusal of a signature
    #[arg(long)]
    no_explanations: bool,
    /// Sign the responses to requests whose nonce was claimed
    #[arg(long)]
    sign_responses: bool,
    #[command(flatten)]
    tokens: ServeTokenOptions,
    #[command(flatten)]
    scheme: SchemeOptions,
}

#[derive(Clone, Copy, ValueEnum)]
enum ParametersArgument {
    Stripped,
    Signed,
    RefuseEmpty,
}

pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    // Reports changes of the key file.
    tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_writer(std::io::stderr).init();
    let apps = static_keys(&arguments).unwrap_or_else(|error| Failure::usage("serve", error));
    let failure = |error: String| Failure::new(INVALID, error);
    let keys = keys(&arguments, apps).map_err(failure)?;
    let redis = redis(&arguments).map_err(failure)?;
    let tokens = token_service(&arguments, keys.clone(), redis.as_ref());
    let tokens = tokens.unwrap_or_else(|error| Failure::usage("serve", error));
    let mut verifier = verifier(&arguments, keys).unwrap_or_else(|error| Failure::usage("serve", error));
    if let Some(service) = &tokens {
        verifier = verifier.with_tokens(service.tokens.clone());
    }
    let verifier = verifier.with_nonces(nonces(&arguments, redis).await.map_err(failure)?);
    let signing = arguments.sign_responses.then(|| SignResponsesLayer::new(verifier.scheme())).transpose();
    let signing = signing.unwrap_or_else(|error| Failure::usage("serve", format!("--sign-responses: {error}")));
    let served = serve(arguments.listen, arguments.metrics, verifier, tokens, signing).await;
    served.map(|()| ExitCode::SUCCESS).map_err(|error| failure(error.to_string()))
}

fn static_keys(arguments: &Arguments) -> Result<StaticKeys, String> {
    let apps = arguments.app.iter().map(|app| parse_app(app)).collect::<Result<Vec<_>, _>>()?;
    if let Some((id, _)) = apps.iter().enumerate().find(|(i, (id, _))| apps[..*i].iter().any(|(other, _)| other == id))
    {
        return Err(format!(
            "--app {}: given twice; for a rotation write its secrets with a comma between them",
            apps[id].0
        ));
    }
    StaticKeys::new(apps).map_err(|error| format!("--app: {error}"))
}

/// A file that is not there is not named: it may be a secret that should have followed another flag.
fn keys(arguments: &Arguments, apps: StaticKeys) -> Result<Arc<dyn DynKeyStore>, String> {
    match &arguments.keys {
        None => Ok(Arc::new(apps)),
        Some(path) if !path.exists() => Err("--keys: there is no such file".to_owned()),
        Some(path) => Ok(Arc::new(FileKeys::open(path).map_err(|error| format!("--keys: {error}"))?)),
    }
}

fn token_service(
    arguments: &Arguments,
    keys: Arc<dyn DynKeyStore>,
    redis: Option<&RedisNonceStore>,
) -> Result<Option<Arc<TokenService>>, String> {
    let scheme = arguments.scheme.scheme()?;
    let Some(tokens) = arguments.tokens.tokens(&scheme, redis)? else { return Ok(None) };
    let has_session_keys = arguments.tokens.session_keys;
    Ok(Some(Arc::new(TokenService { tokens, keys, scheme, has_session_keys })))
}

fn verifier(arguments: &Arguments, keys: Arc<dyn DynKeyStore>) -> Result<Verifier<Arc<dyn DynKeyStore>>, String> {
    let verifier = Verifier::new(keys).with_scheme(arguments.scheme.scheme()?).with_observer(report);
    let verifier = if arguments.no_explanations { verifier } else { verifier.with_explanations() };
    verifier
        .with_tolerance(Duration::from_secs(arguments.tolerance.into()))
        .with_limits(Limits::new().with_body(arguments.body_limit))
        .with_parameters(match arguments.parameters {
            ParametersArgument::Stripped => ParameterPolicy::Strip,
            ParametersArgument::Signed => ParameterPolicy::Canonicalize,
            ParametersArgument::RefuseEmpty => ParameterPolicy::Reject,
        })
        .with_prefix(&arguments.prefix)
        .map_err(|_| PREFIX.to_owned())
}

/// The store in Redis. It connects later. The message does not repeat the URL, which may contain a password.
fn redis(arguments: &Arguments) -> Result<Option<RedisNonceStore>, String> {
    let Some(url) = &arguments.redis else { return Ok(None) };
    let client = redis::Client::open(&**url);
    let client = client.map_err(|_| "--redis: expected a URL such as redis://127.0.0.1:6379/")?;
    Ok(Some(RedisNonceStore::new(client)))
}

/// Checks that Redis evicts nothing, before the server starts.
async fn nonces(arguments: &Arguments, redis: Option<RedisNonceStore>) -> Result<Box<dyn DynNonceStore>, String> {
    let Some(store) = redis else {
        let capacity = usize::try_from(arguments.max_nonces).unwrap_or(usize::MAX);
        return Ok(Box::new(MemoryNonceStore::with_capacity(capacity)));
    };
    let report = store.check().await.map_err(|error| match std::error::Error::source(&error) {
        Some(cause) => format!("--redis: {error}: {cause}"),
        None => format!("--redis: {error}"),
    })?;
    if !report.has_append_only_file {
        eprintln!("note: this Redis has no append-only file: when it restarts it forgets nonces");
    }
    Ok(Box::new(store))
}

/// Writes a line for each refusal.
fn report(outcome: &Outcome<'_>) {
    if let Some(rejection) = outcome.rejection() {
        let app = outcome.claimed_app_id().map_or("unknown".to_owned(), ToString::to_string);
        let reason = outcome.signature_error().map_or(String::new(), |error| format!(" ({error})"));
        eprintln!("refused a request of app {app}{reason}: {rejection}");
    }
}

/// The messages do not repeat what was given, which holds a secret. Not even the id: id and secret may be swapped.
fn parse_app(app: &str) -> Result<(AppId, KeyRing), String> {
    let (id, secrets) = match app.split_once(':') {
        Some((id, secrets)) => (id, Some(secrets)),
        None => (app, None),
    };
    let key = |secret: &str| KeyText::new(secret).secret().map_err(|failure| format!("--app: {}", failure.message()));
    let secrets: Vec<Secret> = match secrets {
        Some(secrets) => secrets.split(',').map(key).collect::<Result<_, _>>()?,
        None => {
            let secret = std::env::var("COUNTERSIGN_KEY");
            vec![key(&secret.map_err(|_| "--app: expected ID:SECRET, or ID and the key in COUNTERSIGN_KEY")?)?]
        }
    };
    let id: AppId = id.parse().map_err(|error| format!("--app: the id: {error}"))?;
    let keys = KeyRing::new(secrets).map_err(|error| format!("--app: {error}"))?;
    Ok((id, keys))
}

async fn serve(
    listen: SocketAddr,
    metrics: Option<SocketAddr>,
    verifier: Verifier<Arc<dyn DynKeyStore>, Box<dyn DynNonceStore>>,
    tokens: Option<Arc<TokenService>>,
    signing: Option<SignResponsesLayer>,
) -> std::io::Result<()> {
    let handled = Arc::new(AtomicU64::new(0));
    let (echo, bearer) = match tokens {
        Some(service) => (
            tokens::signed_routes(service.clone()).fallback(echo::echo_session),
            tokens::bearer_routes(service.tokens.clone()),
        ),
        None => (Router::new().fallback(echo::echo), Router::new()),
    };
    let app = echo
        .layer(middleware::from_fn_with_state(handled.clone(), echo::count))
        // The verifier limits bodies.
        .layer(DefaultBodyLimit::disable())
        .layer(verifier.into_layer());
    let app = match signing {
        Some(layer) => app.layer(layer),
        None => app,
    };
    let app = app.merge(bearer).layer(middleware::from_fn_with_state(handled, echo::health));
    let terminated = termination()?;
    let listener = TcpListener::bind(listen).await?;
    let mut addresses = format!("listening on http://{}", listener.local_addr()?);
    if let Some(address) = metrics {
        addresses += &format!("\nmetrics on http://{}/metrics", serve_metrics(address).await?);
    }
    println!("{addresses}");
    // Ends at once: connections that are kept alive would hold a graceful end up.
    tokio::select! {
        ended = axum::serve(listener, app) => ended,
        ended = terminated => ended,
    }
}

/// Handles SIGTERM and Ctrl-C from now on. The future ends with the first of them.
fn termination() -> std::io::Result<impl Future<Output = std::io::Result<()>>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(async move {
            tokio::select! {
                _ = terminate.recv() => Ok(()),
                _ = interrupt.recv() => Ok(()),
            }
        })
    }
    #[cfg(not(unix))]
    Ok(tokio::signal::ctrl_c())
}

async fn serve_metrics(listen: SocketAddr) -> std::io::Result<SocketAddr> {
    let recorder = exporter::builder().and_then(PrometheusBuilder::install_recorder);
    let routes = exporter::routes(recorder.map_err(std::io::Error::other)?);
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(address)
}
