//! Other layers, HTTP/2, proxies, and a client that is not of this crate.

use std::{net::SocketAddr, process::Command, time::Duration};

use axum::{Router, http::StatusCode, routing::post};
use bytes::Bytes;
use countersign::Verifier;
use http::Request;
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower_http::{compression::CompressionLayer, timeout::TimeoutLayer};

use super::shop::{IDEMPOTENCY_KEY, Shop, by_key, respond, scheme, send, signer, submission, verifier};
use crate::{proxies::block, proxy::Proxy, rig};

#[tokio::test]
async fn compression_above_the_layer_suits_each_client() {
    const TEXT: &str = "one two three four five six seven eight nine ten";
    let stack = ServiceBuilder::new().layer(CompressionLayer::new()).layer(verifier().into_layer()).layer(by_key());
    let router = Router::new().route("/", post(async || TEXT)).layer(stack);
    for (encoding, replayed) in [("gzip", "false"), ("identity", "true"), ("gzip", "true")] {
        let mut sent = submission("/", "k", "");
        sent.headers_mut().insert("accept-encoding", encoding.parse().unwrap());
        let response = respond(&router, sent).await;
        assert_eq!(response.headers()["idempotency-replayed"], replayed);
        let is_gzip = response.headers().get("content-encoding").is_some_and(|encoding| encoding == "gzip");
        assert_eq!(is_gzip, encoding == "gzip");
        let body = rig::bytes(response.into_body()).await;
        match is_gzip {
            true => assert_eq!(body[..2], [0x1F, 0x8B]),
            false => assert_eq!(body, TEXT),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn timeout_above_the_layer_does_not_stop_the_run() {
    let (shop, layer) = (Shop::new(), by_key());
    let timeout = TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_secs(10));
    let router = shop.router(&layer).layer(timeout);
    assert_eq!(send(&router, submission("/gated", "k", "")).await.status, 504);
    assert_eq!(send(&router, submission("/gated", "k", "")).await.brief(), (409, "submission_in_progress"));
    shop.gate.add_permits(1);
    layer.idle().await;
    let again = send(&router, submission("/gated", "k", "")).await;
    assert_eq!((again.brief(), &*again.body), ((200, "true"), "run 1"));
}

#[tokio::test(start_paused = true)]
async fn timeout_below_the_layer_leaves_the_outcome_unknown() {
    let shop = Shop::new();
    let timeout = TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_secs(10));
    let router = shop.routes().layer(timeout).layer(by_key()).layer(verifier().into_layer());
    assert_eq!(send(&router, submission("/gated", "k", "")).await.brief(), (504, "false"));
    assert_eq!(send(&router, submission("/gated", "k", "")).await.brief(), (409, "submission_outcome_unknown"));
}

/// A service with the system's clock.
async fn serve(shop: &Shop) -> SocketAddr {
    let verifier = Verifier::new(rig::keys()).with_scheme(scheme()).with_fingerprints();
    let app = shop.router_below(&by_key(), verifier);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// Sends a submission with curl. Returns the status, what is told about it, and the body.
async fn curl(address: SocketAddr, options: &[&str], path: &str, key: &str) -> (String, String, String) {
    let request = Request::post(format!("http://{address}{path}"));
    let request = request.header("content-type", "text/plain").header(IDEMPOTENCY_KEY, key);
    let request = signer().sign(request.body(Bytes::from("order")).unwrap()).unwrap();
    let mut command = Command::new("curl");
    let written = "\n%{http_code}\n%header{x-error-code}%header{idempotency-replayed}";
    command.args(["-s", "--max-time", "2", "-o", "-", "-w", written, "--data-binary", "order"]).args(options);
    for (name, value) in request.headers() {
        command.args(["-H", &format!("{name}: {}", value.to_str().unwrap())]);
    }
    command.arg(request.uri().to_string());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.rsplitn(3, '\n').map(str::to_owned);
    let (told, status, body) = (lines.next().unwrap(), lines.next().unwrap(), lines.next().unwrap_or_default());
    (status, told, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_pays_once_directly_and_through_nginx() {
    let shop = Shop::new();
    let server = serve(&shop).await;
    let nginx = Proxy::nginx(&block("nginx\n", 0, server));
    let ways = [(server, &[][..]), (server, &["--http2-prior-knowledge"]), (nginx.address, &[])];
    for (i, (address, options)) in ways.into_iter().enumerate() {
        let key = format!("key-{i}");
        let (status, told, body) = curl(address, options, "/pay", &key).await;
        assert_eq!((&*status, &*told), ("201", "false"), "{options:?}: {body}");
        for (again, options) in ways {
            let repeated = curl(again, options, "/pay", &key).await;
            assert_eq!(repeated, ("201".to_owned(), "true".to_owned(), body.clone()), "{options:?}");
        }
    }
    assert_eq!(shop.runs(), 3);
}

/// The client gives up after two seconds, and nginx closes its connection to the service.
#[tokio::test(flavor = "multi_thread")]
async fn answer_lost_behind_nginx_is_given_again() {
    let shop = Shop::new();
    let server = serve(&shop).await;
    let nginx = Proxy::nginx(&block("nginx\n", 0, server));
    let (status, ..) = curl(nginx.address, &[], "/gated", "k").await;
    assert_eq!(status, "000", "curl has given up");
    let (status, told, _) = curl(nginx.address, &[], "/gated", "k").await;
    assert_eq!((&*status, &*told), ("409", "submission_in_progress"));
    shop.gate.add_permits(1);
    let mut repeated = curl(nginx.address, &[], "/gated", "k").await;
    while repeated.1 == "submission_in_progress" {
        repeated = curl(nginx.address, &[], "/gated", "k").await;
    }
    assert_eq!(repeated, ("200".to_owned(), "true".to_owned(), "run 1".to_owned()));
    assert_eq!(shop.runs(), 1);
}
