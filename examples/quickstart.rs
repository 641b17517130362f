//! A service behind the verifier, a client that signs, and what happens to requests that somebody tampered with.
//!
//! ```sh
//! cargo run --example quickstart
//! ```

use std::{net::Ipv4Addr, process::ExitCode, time::SystemTime};

use axum::{Router, routing::post};
use bytes::Bytes;
use countersign::{Caller, Payload, Secret, Signer, StaticKeys, VerifyLayer};
use http::{Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::net::TcpListener;

type Error = Box<dyn std::error::Error>;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

async fn create_order(caller: Caller, order: String) -> String {
    format!("{} ordered {order}", caller.app_id())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Error> {
    // The service: one layer around its routes.
    let keys = StaticKeys::new([("demo".parse()?, Secret::new(SECRET)?)])?;
    let app = Router::new()
        .route("/orders", post(create_order))
        .route("/refunds", post(create_order))
        .layer(VerifyLayer::new(keys));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let orders = format!("http://{}/orders?side=BUY", listener.local_addr()?);
    tokio::spawn(async { axum::serve(listener, app).await });

    // The client: one call before a request is sent.
    let signer = Signer::new("demo".parse()?, Secret::new(SECRET)?);
    let order =
        || Request::post(&orders).header("content-type", "application/json").body(Bytes::from(r#"{"amount":10}"#));
    let good = signer.sign(order()?)?;

    let mut calls = vec![("a good call", good.clone(), 200, ""), ("the same bytes again", good, 401, "replayed_nonce")];

    let mut request = signer.sign(order()?)?;
    *request.uri_mut() = orders.replace("BUY", "SELL").parse::<Uri>()?;
    calls.push(("a changed parameter", request, 401, "invalid_signature"));

    let mut request = signer.sign(order()?)?;
    *request.body_mut() = Bytes::from(r#"{"amount":99}"#);
    calls.push(("a changed body", request, 401, "body_mismatch"));

    let mut request = signer.sign(order()?)?;
    *request.uri_mut() = orders.replace("/orders", "/refunds").parse::<Uri>()?;
    calls.push(("a changed path", request, 401, "invalid_signature"));

    let (mut parts, body) = order()?.into_parts();
    let six_minutes_ago = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs() - 360;
    signer.sign_at(&mut parts, Payload::Bytes(&body), six_minutes_ago.try_into()?, "a-nonce-of-long-ago".parse()?)?;
    calls.push(("an old timestamp", Request::from_parts(parts, body), 401, "stale_timestamp"));

    let stranger = Signer::new("stranger".parse()?, Secret::new(SECRET)?);
    calls.push(("an unknown app", stranger.sign(order()?)?, 401, "invalid_signature"));

    calls.push(("no signature", order()?, 401, "unsigned"));

    let mut as_expected = true;
    println!("{:<22}{:<8}code", "call", "status");
    for (call, request, expected_status, expected_code) in calls {
        let (status, code) = send(request).await?;
        println!("{call:<22}{status:<8}{code}");
        as_expected &= (status, &*code) == (expected_status, expected_code);
    }
    Ok(if as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sends a request as it is, and tells the status and, of a refusal, the code.
async fn send(request: Request<Bytes>) -> Result<(u16, String), Error> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(request.map(Full::new)).await?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    let problem = serde_json::from_slice::<serde_json::Value>(&body).unwrap_or_default();
    Ok((status, problem["code"].as_str().unwrap_or_default().to_owned()))
}
