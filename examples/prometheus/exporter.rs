//! The crate's metrics as Prometheus text.

use std::time::Duration;

use axum::{Router, routing::get};
use http::header::CONTENT_TYPE;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// Seconds: from what verifying takes in memory to what callers wait for a store that hangs, and then some.
const TIMES: [f64; 18] = [
    0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05,
    0.1, 0.25, 0.3, 0.5, 1.0,
];

/// Seconds: the window is 300 either way.
const SKEWS: [f64; 15] =
    [-3600.0, -300.0, -120.0, -60.0, -30.0, -10.0, -5.0, -2.0, 0.0, 2.0, 10.0, 60.0, 120.0, 300.0, 3600.0];

/// Without buckets of its own a histogram would be a summary, and those of several machines cannot be added up.
pub(crate) fn builder() -> Result<PrometheusBuilder, BuildError> {
    let name = |name: &str| Matcher::Full(name.to_owned());
    PrometheusBuilder::new()
        .set_buckets_for_metric(name("countersign_skew_seconds"), &SKEWS)?
        .set_buckets_for_metric(name("countersign_verify_seconds"), &TIMES)?
        .set_buckets_for_metric(name("countersign_store_seconds"), &TIMES)
}

/// `GET /metrics`. It says who calls how often: serve it where only operators look.
pub(crate) fn routes(handle: PrometheusHandle) -> Router {
    let upkeep = handle.clone();
    tokio::spawn(async move {
        // Until somebody looks, what was measured is kept one by one.
        let mut interval = tokio::time::interval(Duration::from_secs(5));
        loop {
            interval.tick().await;
            upkeep.run_upkeep();
        }
    });
    let text = async move || ([(CONTENT_TYPE, "text/plain; version=0.0.4")], handle.render());
    Router::new().route("/metrics", get(text))
}
