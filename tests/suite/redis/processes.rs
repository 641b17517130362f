//! The echo server on a Redis: as many processes as there are machines, and none that starts on one that forgets.

use bytes::Bytes;
use http::Request;

use super::*;
use crate::processes::{EchoServer, example, output_of};

#[tokio::test]
async fn a_request_is_let_in_once_by_two_processes_together() {
    let redis = RedisServer::start();
    let servers = [(); 2].map(|()| EchoServer::start(&["--redis", &redis.url()]));
    for (first, second) in [(0, 1), (1, 0)] {
        let request = rig::signer().sign(Request::get("/orders").body(Bytes::new()).unwrap()).unwrap();
        assert_eq!(servers[first].send(request.clone()).await.status, 200);
        assert_eq!(servers[second].send(request).await.status, 401);
    }
    // What was signed before a process began is let in too, for others remember what it does not.
    let request = rig::signer().sign(Request::get("/orders").body(Bytes::new()).unwrap()).unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let late = EchoServer::start(&["--redis", &redis.url()]);
    assert_eq!(late.send(request.clone()).await.status, 200);
    assert_eq!(servers[0].send(request).await.status, 401);
}

#[tokio::test]
async fn it_does_not_start_on_a_redis_that_forgets_or_is_not_there() {
    let evicting = RedisServer::start_with(&["--maxmemory-policy", "allkeys-lru"]);
    let nobody = "redis://:hush@127.0.0.1:1/";
    for (url, reason) in [(&*evicting.url(), "noeviction"), (nobody, "could not be asked"), ("hush", "expected a URL")]
    {
        let app = format!("demo:{}", rig::KEY);
        let output = output_of(example("echo_server").args(["--listen", "127.0.0.1:0", "--app", &app, "--redis", url]));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.starts_with("error: --redis: ") && stderr.contains(reason), "{stderr}");
        assert!(!stderr.contains("hush"), "{stderr}");
    }
}
