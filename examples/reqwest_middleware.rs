//! Signing as a middleware of reqwest-middleware: innermost, so that whatever sends a request again has it signed anew.
//!
//! ```sh
//! cargo run --example reqwest_middleware
//! ```

use std::{net::Ipv4Addr, process::ExitCode};

use axum::{
    Router,
    response::Redirect,
    routing::{get, post},
};
use countersign::{Caller, Secret, Signer, StaticKeys, VerifyLayer};
use http::Extensions;
use reqwest::{Request, Response, redirect::Policy};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Error, Middleware, Next, Result};
use tokio::net::TcpListener;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Signs what goes through it.
struct Sign(Signer);

#[async_trait::async_trait]
impl Middleware for Sign {
    async fn handle(&self, request: Request, extensions: &mut Extensions, next: Next<'_>) -> Result<Response> {
        let request = self.0.sign_reqwest(request).map_err(Error::middleware)?;
        next.run(request, extensions).await
    }
}

/// Sends every request twice, as a retry does whose first answer is lost.
struct Twice;

#[async_trait::async_trait]
impl Middleware for Twice {
    async fn handle(&self, request: Request, extensions: &mut Extensions, next: Next<'_>) -> Result<Response> {
        if let Some(first) = request.try_clone() {
            next.clone().run(first, extensions).await?;
        }
        next.run(request, extensions).await
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::result::Result<ExitCode, Box<dyn std::error::Error>> {
    let keys = StaticKeys::new([("demo".parse()?, Secret::new(SECRET)?)])?;
    let app = Router::new()
        .route("/orders", post(async |caller: Caller, order: String| format!("{} ordered {order}", caller.app_id())))
        .route("/old", get(async || Redirect::temporary("/orders")))
        .layer(VerifyLayer::new(keys));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let base = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async { axum::serve(listener, app).await });

    let signer = Signer::new("demo".parse()?, Secret::new(SECRET)?);
    // Redirects that reqwest follows by itself would take the signature along.
    let reqwest = reqwest::Client::builder().redirect(Policy::none()).build()?;
    let client = || ClientBuilder::new(reqwest.clone());
    let signing = client().with(Sign(signer.clone())).build();
    let sign_inside = client().with(Twice).with(Sign(signer.clone())).build();
    let sign_outside = client().with(Sign(signer)).with(Twice).build();

    let order = |client: &ClientWithMiddleware| client.post(format!("{base}/orders?side=BUY")).body("10 apples");
    let calls = [
        ("a good call", order(&signing), 200, ""),
        ("sent twice, signed inside", order(&sign_inside), 200, ""),
        ("sent twice, signed outside", order(&sign_outside), 401, "replayed_nonce"),
        ("a redirect, not followed", signing.get(format!("{base}/old")), 307, ""),
        ("no signature", order(&client().build()), 401, "unsigned"),
    ];
    let mut as_expected = true;
    println!("{:<28}{:<8}code", "call", "status");
    for (call, request, expected_status, expected_code) in calls {
        let response = request.send().await?;
        let status = response.status().as_u16();
        let problem = serde_json::from_slice::<serde_json::Value>(&response.bytes().await?).unwrap_or_default();
        let code = problem["code"].as_str().unwrap_or_default();
        println!("{call:<28}{status:<8}{code}");
        as_expected &= (status, code) == (expected_status, expected_code);
    }
    Ok(if as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
