//! A service whose metrics Prometheus can read, and a look at them after a few calls. `dashboard.json` beside this file
//! is what Grafana makes of them.
//!
//! ```sh
//! cargo run --example prometheus
//! ```

mod exporter;

use std::{net::Ipv4Addr, process::ExitCode};

use axum::{Router, routing::post};
use bytes::Bytes;
use countersign::{Caller, Secret, Signer, StaticKeys, VerifyLayer};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::net::TcpListener;

type Error = Box<dyn std::error::Error>;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Error> {
    // Before the first request: what is counted without a recorder is lost.
    let handle = exporter::builder()?.install_recorder()?;
    let metrics = serve(exporter::routes(handle)).await?;

    let keys = StaticKeys::new([("demo".parse()?, Secret::new(SECRET)?)])?;
    let orders = Router::new().route("/orders", post(create)).layer(VerifyLayer::new(keys));
    let orders = serve(orders).await? + "/orders";

    let client = Client::builder(TokioExecutor::new()).build_http();
    let signer = Signer::new("demo".parse()?, Secret::new(SECRET)?);
    let order = || Request::post(&orders).body(Bytes::from("10"));
    let signed = signer.sign(order()?)?;
    for request in [signed.clone(), signed, order()?] {
        send(&client, request).await?;
    }

    let text = send(&client, Request::get(metrics + "/metrics").body(Bytes::new())?).await?;
    let counters = text.lines().filter(|line| line.starts_with("countersign_requests_total") && !line.ends_with(" 0"));
    let counters: Vec<&str> = counters.collect();
    println!("{}", counters.join("\n"));
    Ok(if counters.len() == 3 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn create(caller: Caller, order: String) -> String {
    format!("{} ordered {order}", caller.app_id())
}

/// On a port of its own, away from where callers come.
async fn serve(app: Router) -> Result<String, Error> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let base = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(base)
}

async fn send(client: &Client<HttpConnector, Full<Bytes>>, request: Request<Bytes>) -> Result<String, Error> {
    let body = client.request(request.map(Full::new)).await?.into_body();
    Ok(String::from_utf8(body.collect().await?.to_bytes().to_vec())?)
}
