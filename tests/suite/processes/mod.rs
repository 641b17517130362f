//! The examples as separate processes, and the shell blocks of PROTOCOL.md.

mod echo_server;
mod protocol;
mod quickstart;
mod submit_once;

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use countersign::{FieldLocation, Nonce, Payload, Scheme, Secret, Signer, Timestamp, Token, TokenLocation};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::Full;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};

use crate::{
    keys::KeyFile,
    rig::{self, KEY, NOW, fresh_nonce, signer, signer_of},
};

/// The longest time for any process or call.
const PATIENCE: Duration = Duration::from_secs(20);

/// An example. Cargo puts examples beside the directory of the tests.
pub(crate) fn example(name: &str) -> Command {
    built(&format!("examples/{name}"), "cargo build --examples")
}

/// The echo server: `countersign serve`.
pub(crate) fn echo_server() -> Command {
    let mut command = countersign();
    command.arg("serve");
    command
}

/// The command line.
pub(crate) fn countersign() -> Command {
    built("countersign", "cargo build -p countersign-cli")
}

fn built(name: &str, build: &str) -> Command {
    let tests = std::env::current_exe().unwrap();
    let path: PathBuf = tests.parent().and_then(|deps| deps.parent()).unwrap().join(name);
    assert!(path.exists(), "{} does not exist: run `{build}` first", path.display());
    Command::new(path)
}

/// Runs a command until it exits.
pub(crate) fn output_of(command: &mut Command) -> Output {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    bounded(pid, PATIENCE, move || child.wait_with_output().unwrap())
}

/// Waits for a process, and kills it after the limit.
fn bounded<T: Send + 'static>(pid: u32, limit: Duration, wait: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(wait()));
    receiver.recv_timeout(limit).unwrap_or_else(|_| {
        signal(pid, "KILL");
        panic!("the process took longer than {limit:?}");
    })
}

fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().unwrap();
    assert!(status.success());
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A running echo server. Dropping it kills the process.
pub(crate) struct EchoServer {
    child: Option<Child>,
    base: String,
    metrics: Option<String>,
}

impl EchoServer {
    /// Starts a server with the app `demo` and the key of the rig.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::with_app(&format!("demo:{KEY}"), arguments)
    }

    /// It knows the apps of this key file.
    pub(crate) fn start_with_keys(path: &str) -> Self {
        Self::with_keys_from(["--keys", path], &[])
    }

    /// It knows this app alone.
    pub(crate) fn start_with_app(app: &str) -> Self {
        Self::with_app(app, &[])
    }

    /// The URL of the server, without a path.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    fn with_app(app: &str, arguments: &[&str]) -> Self {
        Self::with_keys_from(["--app", app], arguments)
    }

    fn with_keys_from(keys: [&str; 2], arguments: &[&str]) -> Self {
        let mut command = echo_server();
        command.args(["--listen", "127.0.0.1:0"]).args(keys).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let (pid, stdout) = (child.id(), child.stdout.take().unwrap());
        let mut server = Self { child: Some(child), base: String::new(), metrics: None };
        let lines = 1 + usize::from(arguments.contains(&"--metrics"));
        let lines = bounded(pid, PATIENCE, move || BufReader::new(stdout).lines().take(lines).collect::<Vec<_>>());
        let mut lines = lines.into_iter().map(Result::unwrap);
        let line = lines.next().expect("the server prints its address");
        server.metrics = lines.next().map(|line| line.strip_prefix("metrics on ").unwrap().to_owned());
        server.base = line.strip_prefix("listening on ").unwrap().to_owned();
        assert!(server.base.starts_with("http://127.0.0.1:"), "{line}");
        server
    }

    /// Sends the request unchanged.
    pub(crate) async fn send(&self, request: Request<Bytes>) -> Answer {
        send_to(&self.base, request).await
    }

    async fn send_signed(&self, signer: &Signer, request: Request<Bytes>) -> Answer {
        self.send(signer.sign(request).unwrap()).await
    }

    fn end_by(mut self, name: &str) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let pid = child.id();
        signal(pid, name);
        bounded(pid, Duration::from_secs(1), move || child.wait().unwrap())
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // The process may already have exited.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

async fn send_to(base: &str, request: Request<Bytes>) -> Answer {
    let (mut parts, body) = request.into_parts();
    parts.uri = format!("{base}{}", parts.uri).parse().unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http();
    let call = async {
        let (parts, body) = client.request(Request::from_parts(parts, Full::new(body))).await.unwrap().into_parts();
        Answer { status: parts.status, headers: parts.headers, body: rig::bytes(body).await }
    };
    tokio::time::timeout(PATIENCE, call).await.unwrap()
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// The status, with the code of a rejection.
    fn outcome(&self) -> (u16, String) {
        let json = self.json();
        (self.status.as_u16(), json["code"].as_str().unwrap_or_default().to_owned())
    }

    fn assert_outcome(&self, status: u16, code: &str) {
        assert_eq!(self.outcome(), (status, code.to_owned()), "{:?}", self.body);
    }
}

fn get(target: &str) -> Request<Bytes> {
    Request::get(target).body(Bytes::new()).unwrap()
}

fn post(target: &str, body: &'static str) -> Request<Bytes> {
    Request::post(target).header("content-type", "text/plain").body(Bytes::from(body)).unwrap()
}

/// A request signed with a timestamp this many seconds ahead.
fn signed_ahead(seconds: u64) -> Request<Bytes> {
    let (mut parts, body) = get("/").into_parts();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let timestamp = Timestamp::try_from(now + seconds).unwrap();
    signer().sign_at(&mut parts, Payload::Bytes(b""), timestamp, fresh_nonce()).unwrap();
    Request::from_parts(parts, body)
}
