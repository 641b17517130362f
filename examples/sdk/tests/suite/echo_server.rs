//! The client against the echo server of the command line, which a client author uses while there is no service yet. It
//! answers every accepted request with a description, so the client gets a success that it cannot decode.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use orders_sdk::{Client, Document, Error, Order, Secret};

use crate::TemporaryFile;

const KEY: &str = "0123456789abcdef0123456789abcdef";

struct EchoServer(Child, String);

impl EchoServer {
    /// Builds the command line, if it is not built yet, and runs it.
    fn start() -> Self {
        let target = std::env::current_exe().unwrap();
        let target = target.ancestors().nth(3).unwrap();
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
        let mut command = Command::new(env!("CARGO"));
        command
            .args(["run", "--quiet", "--manifest-path", manifest, "-p", "countersign-cli", "--target-dir"])
            .arg(target);
        command.args(["--", "serve", "--listen", "127.0.0.1:0", "--app", "demo", "--signed-header", "idempotency-key"]);
        command.env("COUNTERSIGN_KEY", KEY).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let base = line.trim_end().strip_prefix("listening on ").expect("the first line of the echo server").to_owned();
        Self(child, base)
    }

    fn client(&self, key: &str) -> Client {
        let client = Client::builder(&self.1, "demo", Secret::new(key).unwrap()).with_insecure_http();
        client.with_deadline(Duration::from_secs(20)).build().unwrap()
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn assert_accepted<T: std::fmt::Debug>(result: Result<T, Error>) {
    match result {
        Err(Error::Undecodable { status, .. }) => assert_eq!(status, 200),
        other => panic!("the echo server did not accept the request: {other:?}"),
    }
}

#[tokio::test]
async fn echo_server_accepts_every_call() {
    let server = EchoServer::start();
    let client = server.client(KEY);
    assert_accepted(client.place_order(&Order::new("BTC", 10)).await);
    assert_accepted(client.orders().await);
    assert_accepted(client.upload(&TemporaryFile::new(&[b'x'; 100_000]).0).await);
    let document = Document { title: "Invoice".into(), file_name: "a.pdf".into(), bytes: b"\x00\xff".to_vec() };
    assert_accepted(client.upload_form(document).await);

    let error = server.client(&"w".repeat(32)).orders().await.unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error}");
    assert!(
        error.to_string().contains("invalid_signature: all lines are the same as far as they are shown"),
        "{error}"
    );
}
