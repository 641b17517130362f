//! A payment that is sent four times and made once.
//!
//! ```sh
//! cargo run --example submit_once
//! ```

use std::{
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering},
};

use axum::{Router, body::Body, http::StatusCode, response::Response, routing::post};
use bytes::Bytes;
use countersign::{
    Caller, Scheme, Secret, Signer, StaticKeys, Verifier,
    submission::{Submission, SubmitOnceLayer},
};
use http::{HeaderName, Request};
use http_body_util::BodyExt;
use tower::ServiceExt;

type Error = Box<dyn std::error::Error>;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

static PAYMENTS: AtomicUsize = AtomicUsize::new(0);

async fn pay(caller: Caller, submission: Submission, order: String) -> (StatusCode, String) {
    let number = PAYMENTS.fetch_add(1, Ordering::SeqCst) + 1;
    let key = submission.key().map_or("", |key| key.as_str());
    (StatusCode::CREATED, format!("payment {number}: {} paid {order} ({key})", caller.app_id()))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Error> {
    // Both ends sign the idempotency key.
    let scheme = Scheme::new().with_signed_headers([HeaderName::from_static("idempotency-key")])?;
    let keys = StaticKeys::new([("demo".parse()?, Secret::new(SECRET)?)])?;
    let verifier = Verifier::new(keys).with_scheme(scheme.clone()).with_fingerprints();
    let once = SubmitOnceLayer::by_key(&scheme)?;
    let app = Router::new().route("/payments", post(pay)).layer(once).layer(verifier.into_layer());

    // Each attempt has the same key and bytes, and a signature of its own.
    let signer = Signer::new("demo".parse()?, Secret::new(SECRET)?).with_scheme(scheme);
    let attempt = |order: &'static str| {
        let request =
            Request::post("/payments").header("content-type", "text/plain").header("idempotency-key", "order-1");
        Ok::<_, Error>(signer.sign(request.body(Bytes::from(order))?)?)
    };
    let calls = [
        ("the first attempt", "10 EUR", 201, "false"),
        ("a retry", "10 EUR", 201, "true"),
        ("another retry", "10 EUR", 201, "true"),
        ("the same key, another payment", "99 EUR", 422, "idempotency_key_reused"),
    ];
    let mut as_expected = true;
    for (call, order, expected_status, expected) in calls {
        let response: Response = app.clone().oneshot(attempt(order)?.map(Body::from)).await?;
        let status = response.status().as_u16();
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let told = header("idempotency-replayed").or(header("x-error-code")).unwrap_or_default();
        let body = response.into_body().collect().await?.to_bytes();
        let shown = if status == 201 { String::from_utf8_lossy(&body).into_owned() } else { String::new() };
        println!("{call:<32}{status:<6}{told:<24}{shown}");
        as_expected &= (status, told.as_str()) == (expected_status, expected);
    }
    as_expected &= PAYMENTS.load(Ordering::SeqCst) == 1;
    Ok(if as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
