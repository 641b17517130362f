//! Links over sockets: curl over HTTP/1.1 and HTTP/2, through nginx, and with nonces in Redis.

use std::{net::SocketAddr, process::Command, time::Duration};

use axum::{Router, routing::get};
use countersign::{
    Caller, Verifier,
    danger::ReportOnlyLayer,
    server::{Links, RequireLayer},
    store::RedisNonceStore,
};
use http::{HeaderMap, Uri};
use tokio::net::TcpListener;

use crate::{proxies::block, proxy::Proxy, redis::server::RedisServer, rig};

/// A service behind a verifier that takes links, with its nonces in Redis.
async fn serve(redis: &RedisServer) -> SocketAddr {
    let verifier =
        Verifier::new(rig::keys()).with_nonces(RedisNonceStore::new(redis.client())).with_links(Links::new());
    let echo = async |uri: Uri, caller: Caller, headers: HeaderMap| {
        let kind = match caller.link() {
            Some(link) if link.is_one_time() => "one-time link",
            Some(_) => "link",
            None => "request",
        };
        format!("{kind} {} {}", uri.path_and_query().unwrap(), headers.contains_key("x-token"))
    };
    let app = Router::new()
        .route("/documents/{id}", get(echo))
        .route("/keys", get(echo).layer(RequireLayer::app_key()))
        .route("/me", get(echo).layer(RequireLayer::token()))
        .layer(verifier.into_layer());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// A link of the system's clock, to this server.
fn presign(server: SocketAddr, path: &str, is_one_time: bool) -> String {
    let uri = format!("http://{server}{path}").parse().unwrap();
    let signer = rig::signer();
    let link = signer.presign(&uri, Duration::from_secs(60));
    let link = if is_one_time { link.one_time() } else { link };
    link.sign().unwrap().to_string()
}

/// The status, the code of a rejection, and the body.
async fn curl(options: &[&str], url: &str) -> (String, String, String) {
    let mut command = Command::new("curl");
    command.args(["-s", "--max-time", "10", "-o", "-", "-w", "\n%{http_code}\n%header{x-error-code}"]);
    command.args(options).arg(url);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.rsplitn(3, '\n').map(str::to_owned);
    let (code, status, body) = (lines.next().unwrap(), lines.next().unwrap(), lines.next().unwrap_or_default());
    (status, code, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_opens_links_directly_and_through_nginx() {
    let redis = RedisServer::start();
    let server = serve(&redis).await;
    let nginx = Proxy::nginx(&block("nginx\n", 0, server));
    for address in [server, nginx.address] {
        let link = presign(address, "/documents/a%20b?format=pdf&x=%7E", false);
        for options in [&[][..], &["--http2-prior-knowledge"], &["-H", "x-token: tok_1"]] {
            if options.contains(&"--http2-prior-knowledge") && address != server {
                continue;
            }
            let (status, _, body) = curl(options, &link).await;
            assert_eq!((&*status, &*body), ("200", "link /documents/a%20b?format=pdf&x=%7E false"), "{options:?}");
        }
        assert_eq!(curl(&["-I"], &link).await.0, "200");
        assert_eq!(curl(&["-X", "POST"], &link).await.1, "method_not_allowed");
        assert_eq!(curl(&["-X", "GET", "-d", "x=1"], &link).await.1, "malformed_field");
        assert_eq!(curl(&[], &link.replace("pdf", "csv")).await.1, "invalid_signature");
        assert_eq!(curl(&[], &format!("{link}&utm_source=mail")).await.1, "invalid_signature");
        assert_eq!(curl(&[], &presign(address, "/keys", false)).await.1, "key_not_allowed");
        assert_eq!(curl(&[], &presign(address, "/me", false)).await.1, "missing_token");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_time_link_opens_once_across_machines() {
    let redis = RedisServer::start();
    let (one, other) = (serve(&redis).await, serve(&redis).await);
    let link = presign(one, "/documents/1", true);
    let elsewhere = link.replace(&one.to_string(), &other.to_string());
    assert_eq!(curl(&["-I"], &link).await.1, "method_not_allowed");
    let opened: Vec<_> = futures_util::future::join_all((0..16).map(|i| {
        let link = if i % 2 == 0 { link.clone() } else { elsewhere.clone() };
        async move { curl(&[], &link).await }
    }))
    .await;
    let (first, others): (Vec<_>, Vec<_>) = opened.into_iter().partition(|(status, ..)| status == "200");
    assert_eq!(first.len(), 1, "of 16 clients that open a link for one use at once");
    assert_eq!(first[0].2, "one-time link /documents/1 false");
    assert!(others.iter().all(|(_, code, _)| code == "replayed_nonce"), "{others:?}");
    // The nonce is stored until the link ends, and 60 s longer.
    let keys: Vec<String> = redis.command(&["KEYS", "*"]);
    let ttl: i64 = redis.command(&["TTL", &keys[0]]);
    assert!(keys.len() == 1 && (110..=120).contains(&ttl), "{keys:?} {ttl}");
}

#[tokio::test(flavor = "multi_thread")]
async fn report_only_layer_reports_links() {
    let reports = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = reports.clone();
    let (verifier, _) = super::verifier();
    let layer = ReportOnlyLayer::new(verifier, move |_, verdict| {
        let report = match verdict {
            Ok(caller) => format!("link {}", caller.link().is_some()),
            Err(rejection) => rejection.kind().code().to_owned(),
        };
        seen.lock().unwrap().push(report);
    });
    let echo = async |uri: Uri| uri.to_string();
    let app = Router::new().route("/a", get(echo)).layer(layer);
    let open = async |link: &str| {
        let request = http::Request::get(link).body(axum::body::Body::empty()).unwrap();
        let response = tower::ServiceExt::oneshot(app.clone(), request).await.unwrap();
        String::from_utf8(rig::bytes(response.into_body()).await.to_vec()).unwrap()
    };
    let link = super::link("/a?b=1");
    assert_eq!(open(&link).await, "/a?b=1");
    let changed = link.replace("b=1", "b=2");
    assert_eq!(open(&changed).await, changed);
    assert_eq!(*reports.lock().unwrap(), ["link true", "invalid_signature"]);
}
