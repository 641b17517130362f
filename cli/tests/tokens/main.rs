//! The echo server with tokens and submissions, over HTTP.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "that is how a test fails")]

mod bad_input;
mod commands;
mod cookies;
mod ends;
mod issue;
mod links;
mod python;
mod redis;
mod renewal;
mod session_keys;
mod submissions;

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
};

use countersign::{Scheme, Secret, Signer, Token};
use http::{HeaderMap, Method};
use reqwest::{Client, Request, Url};
use serde_json::{Value, json};

const KEY: &str = "0123456789abcdef0123456789abcdef";
const OTHER_KEY: &str = "fedcba9876543210fedcba9876543210";

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    for name in ["COUNTERSIGN_APP", "COUNTERSIGN_KEY", "COUNTERSIGN_TOKEN"] {
        command.env_remove(name);
    }
    command.env("no_proxy", "*");
    command
}

/// A running server with the apps `demo` and `other`.
struct Server {
    child: Child,
    base: String,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        Self::start_with_key_of_other(OTHER_KEY, arguments)
    }

    fn start_with_key_of_other(key: &str, arguments: &[&str]) -> Self {
        Self::spawn(command(), key, arguments)
    }

    fn start_with_environment(variables: &[(&str, &str)], arguments: &[&str]) -> Self {
        let mut command = command();
        command.envs(variables.iter().copied());
        Self::spawn(command, OTHER_KEY, arguments)
    }

    fn spawn(mut command: Command, key: &str, arguments: &[&str]) -> Self {
        command.args(["serve", "--listen", "127.0.0.1:0", "--app", &format!("demo:{KEY}")]);
        command.args(["--app", &format!("other:{key}")]).args(arguments);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let base = line.trim_end().strip_prefix("listening on ").expect("the first line").to_owned();
        Self { child, base }
    }

    fn url(&self, path: &str) -> Url {
        format!("{}{path}", self.base).parse().unwrap()
    }

    async fn send(&self, request: Request) -> Answer {
        // Another test may have installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let response = Client::builder().no_proxy().build().unwrap().execute(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.unwrap();
        Answer { status, headers, json: serde_json::from_slice(&body).unwrap_or_default() }
    }

    /// Sends a signed request without a body.
    async fn call(&self, signer: &Signer, method: Method, path: &str) -> Answer {
        self.send(signer.sign_reqwest(Request::new(method, self.url(path))).unwrap()).await
    }

    async fn get(&self, signer: &Signer, path: &str) -> Answer {
        self.call(signer, Method::GET, path).await
    }

    /// Asks for a token.
    async fn ask(&self, signer: &Signer, wanted: &Value) -> Answer {
        let mut request = Request::new(Method::POST, self.url("/_tokens"));
        request.headers_mut().insert("content-type", "application/json".parse().unwrap());
        *request.body_mut() = Some(wanted.to_string().into());
        self.send(signer.sign_reqwest(request).unwrap()).await
    }

    /// Issues a token to `demo`, and returns the answer.
    async fn issue(&self, wanted: Value) -> Value {
        let answer = self.ask(&demo(), &wanted).await;
        assert_eq!((answer.status, answer.header("cache-control")), (201, "no-store"), "{}", answer.json);
        answer.json
    }

    /// Issues a token to `demo`, and returns a signer that sends it.
    async fn signer(&self, wanted: Value) -> Signer {
        with_token(&self.issue(wanted).await)
    }

    /// Ends the server and returns what it wrote to stderr.
    fn stderr(mut self) -> String {
        self.child.kill().unwrap();
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    json: Value,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The status and the code of a refusal.
    fn outcome(&self) -> (u16, &str) {
        (self.status, self.header("x-error-code"))
    }

    fn reason(&self) -> &str {
        assert_eq!(self.outcome(), (401, "invalid_token"), "{}", self.json);
        self.json["reason"].as_str().unwrap_or_default()
    }
}

fn demo() -> Signer {
    Signer::new("demo".parse().unwrap(), Secret::new(KEY).unwrap())
}

fn other() -> Signer {
    Signer::new("other".parse().unwrap(), Secret::new(OTHER_KEY).unwrap())
}

fn token(answer: &Value) -> Token {
    answer["token"].as_str().expect("a token").parse().unwrap()
}

/// A signer of `demo` that sends the token of an answer.
fn with_token(answer: &Value) -> Signer {
    demo().with_token(token(answer))
}

/// A signer that signs with the session key of an answer.
fn with_session_key(answer: &Value) -> Signer {
    let key = Secret::new(answer["session_key"].as_str().expect("a session key")).unwrap();
    Signer::for_session("demo".parse().unwrap(), token(answer), key)
}

fn ok(outcome: (u16, &str)) {
    assert_eq!(outcome, (200, ""));
}
