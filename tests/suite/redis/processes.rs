//! Echo servers that share a Redis, and echo servers that do not start with an unsuitable one.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use tokio::task::JoinSet;

use super::*;
use crate::processes::{EchoServer, echo_server, output_of};

#[tokio::test]
async fn two_processes_accept_a_request_once() {
    let redis = RedisServer::start();
    let servers = [(); 2].map(|()| EchoServer::start(&["--redis", &redis.url()]));
    for (first, second) in [(0, 1), (1, 0)] {
        let request = rig::signer().sign(Request::get("/orders").body(Bytes::new()).unwrap()).unwrap();
        assert_eq!(servers[first].send(request.clone()).await.status, 200);
        assert_eq!(servers[second].send(request).await.status, 401);
    }
    // A new process accepts requests that were signed before its start, because Redis remembers the nonces.
    let request = rig::signer().sign(Request::get("/orders").body(Bytes::new()).unwrap()).unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let late = EchoServer::start(&["--redis", &redis.url()]);
    assert_eq!(late.send(request.clone()).await.status, 200);
    assert_eq!(servers[0].send(request).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_are_accepted_once_across_processes() {
    const REQUESTS: usize = 3000;
    let redis = RedisServer::start();
    let servers = [(); 2].map(|()| Arc::new(EchoServer::start(&["--redis", &redis.url()])));
    let sign = |_| rig::signer().sign(Request::get("/orders").body(Bytes::new()).unwrap()).unwrap();
    let requests: Vec<_> = (0..REQUESTS).map(sign).collect();
    let mut racers = JoinSet::new();
    for chunk in requests.chunks(REQUESTS / 20) {
        let (chunk, servers) = (chunk.to_vec(), servers.clone());
        racers.spawn(async move {
            let mut accepted = Vec::new();
            for request in chunk {
                let [first, second] = &servers;
                let (first, second) = tokio::join!(first.send(request.clone()), second.send(request));
                let statuses = [first.status.as_u16(), second.status.as_u16()];
                assert!(statuses.iter().all(|status| [200, 401].contains(status)), "{statuses:?}");
                accepted.push(statuses.iter().filter(|&&status| status == 200).count());
            }
            accepted
        });
    }
    let accepted: Vec<usize> = racers.join_all().await.into_iter().flatten().collect();
    assert_eq!(accepted, [1; REQUESTS]);
    assert_eq!(redis.command::<usize>(&["DBSIZE"]), REQUESTS);
}

#[tokio::test]
async fn server_does_not_start_on_unsuitable_redis() {
    let evicting = RedisServer::start_with(&["--maxmemory-policy", "allkeys-lru"]);
    let unreachable = "redis://:hush@127.0.0.1:1/";
    for (url, reason) in
        [(&*evicting.url(), "noeviction"), (unreachable, "cannot be checked"), ("hush", "expected a URL")]
    {
        let app = format!("demo:{}", rig::KEY);
        let output = output_of(echo_server().args(["--listen", "127.0.0.1:0", "--app", &app, "--redis", url]));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.starts_with("error: --redis: ") && stderr.contains(reason), "{stderr}");
        assert!(!stderr.contains("hush"), "{stderr}");
    }
}
