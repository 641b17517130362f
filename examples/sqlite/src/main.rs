//! A service whose apps and keys are in a database: SQLite, in memory, behind `CachedKeys`.
//!
//! ```sh
//! cargo run --manifest-path examples/sqlite/Cargo.toml
//! ```

mod store;

use std::{net::Ipv4Addr, process::ExitCode};

use axum::{Router, routing::post};
use bytes::Bytes;
use countersign::{AppId, Caller, Secret, Signer, VerifyLayer, store::CachedKeys};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use sqlx::{SqlitePool, sqlite::SqlitePoolOptions};
use tokio::net::TcpListener;

use self::store::{Plan, SqliteKeys};

type Error = Box<dyn std::error::Error>;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

async fn create_order(caller: Caller, order: String) -> String {
    let plan = caller.data::<Plan>().map_or("no", |plan| &plan.name);
    format!("{}, on the {plan} plan, ordered {order}", caller.app_id())
}

/// More connections than ids that nobody knows are looked up at a time, which are 8: the rest is for the known ones.
async fn open() -> Result<SqlitePool, sqlx::Error> {
    SqlitePoolOptions::new().min_connections(1).max_connections(10).connect("sqlite::memory:").await
}

#[tokio::main]
async fn main() -> Result<ExitCode, Error> {
    let demo: AppId = "demo".parse()?;
    let database = SqliteKeys(open().await?);
    database.create_schema().await?;
    database.create_app(&demo, SECRET.as_bytes()).await?;

    let keys = CachedKeys::new(database);
    let app = Router::new().route("/orders", post(create_order)).layer(VerifyLayer::new(keys.clone()));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let orders = format!("http://{}/orders", listener.local_addr()?);
    tokio::spawn(async { axum::serve(listener, app).await });

    let client = Signer::new(demo.clone(), Secret::new(SECRET)?);
    let stranger = Signer::new("stranger".parse()?, Secret::new(SECRET)?);
    println!("{:<36}{:<8}code", "call", "status");
    let mut as_expected = call("an app in the database", &client, &orders, (200, "")).await?;
    as_expected &= call("an app that is not", &stranger, &orders, (401, "invalid_signature")).await?;

    keys.store().disable_app(&demo).await?;
    as_expected &= call("disabled, and remembered for 60 s", &client, &orders, (200, "")).await?;
    keys.invalidate(&demo);
    as_expected &= call("disabled, and forgotten", &client, &orders, (401, "invalid_signature")).await?;
    Ok(if as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sends a signed order, and tells whether status and code are the expected ones.
async fn call(what: &str, signer: &Signer, url: &str, expected: (u16, &str)) -> Result<bool, Error> {
    let order = Request::post(url).header("content-type", "application/json").body(Bytes::from(r#"{"amount":10}"#))?;
    let request = signer.sign(order)?.map(Full::new);
    let response = Client::builder(TokioExecutor::new()).build_http().request(request).await?;
    let status = response.status().as_u16();
    let problem: serde_json::Value =
        serde_json::from_slice(&response.into_body().collect().await?.to_bytes()).unwrap_or_default();
    let code = problem["code"].as_str().unwrap_or_default();
    println!("{what:<36}{status:<8}{code}");
    Ok((status, code) == expected)
}
