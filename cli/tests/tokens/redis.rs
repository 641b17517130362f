//! Two servers that share tokens in Redis.

use std::net::{TcpListener, TcpStream};

use super::*;

pub(super) struct Redis(Child, String);

impl Redis {
    pub(super) fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("redis-server");
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::yield_now();
        }
        Self(child, format!("redis://127.0.0.1:{port}/"))
    }

    pub(super) fn url(&self) -> &str {
        &self.1
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn servers_on_one_redis_share_sessions() {
    let redis = Redis::start();
    let arguments = ["--tokens", "--redis", redis.url(), "--owner-key-env", "OWNER_KEY"];
    let start = || Server::start_with_environment(&[("OWNER_KEY", "an owner key of 16 bytes")], &arguments);
    let (one, other) = (start(), start());
    let user = one.signer(json!({ "user": "u" })).await;
    ok(other.get(&user, "/").await.outcome());
    assert_eq!(other.call(&user, Method::DELETE, "/_tokens").await.status, 204);
    assert_eq!(one.get(&user, "/").await.reason(), "revoked");
}

#[test]
fn owner_key_needs_redis_and_a_variable() {
    for arguments in [&["--owner-key-env", "A"][..], &["--tokens", "--owner-key-env", "A"]] {
        let output = command().args(["serve", "--app", &format!("demo:{KEY}")]).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    let absent = ["serve", "--app", &format!("demo:{KEY}"), "--tokens", "--redis", "redis://127.0.0.1:1/"];
    let output = command().args(absent).args(["--owner-key-env", "NO_SUCH_VARIABLE"]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("--owner-key-env: the environment has no such variable"), "{text}");
}
