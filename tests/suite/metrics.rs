//! Metrics: their values, and their agreement with the guide and the dashboard.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use ::metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use countersign::{
    AppId, KeyRing, Secret, Signer, StaticKeys, Verifier,
    clock::{Clock, ManualClock},
    danger::ReportOnlyLayer,
    server::ServiceBody,
    store::{
        DynNonceStore, MemoryNonceStore, NonceClaim, NonceStatus, NonceStore, Occupancy, Retention, StoreError, key_fn,
    },
    submission::SubmitOnceLayer,
};
use http::{Request, Response};
use serde_json::Value;
use tower::{Layer, ServiceExt, service_fn};

use crate::rig::{self, NOW, get, incoming, post, signed, signed_by, verifier};

#[expect(dead_code, reason = "its routes are for processes")]
#[path = "../../examples/prometheus/exporter.rs"]
mod exporter;

const GUIDE: &str = include_str!("../../docs/metrics.md");
const DASHBOARD: &str = include_str!("../../examples/prometheus/dashboard.json");

/// The metrics as Prometheus would scrape them after the run.
pub(crate) fn metrics_of(run: impl Future<Output = ()>) -> String {
    let recorder = exporter::builder().unwrap().build_recorder();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    ::metrics::with_local_recorder(&recorder, || runtime.block_on(run));
    recorder.handle().render()
}

/// The value of a sample.
fn value(text: &str, sample: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {sample} in {text}")).parse().unwrap()
}

/// The counts of invalid signatures: of an unknown app, of an app without an active key, and of a known app.
pub(crate) fn invalid_signatures(text: &str) -> [f64; 3] {
    ["unknown_app", "no_active_key", "wrong_signature"].map(|reason| {
        let labels = format!("code=\"invalid_signature\",enforced=\"true\",reason=\"{reason}\"");
        value(text, &format!("countersign_requests_total{{{labels}}}"))
    })
}

fn requests(text: &str, code: &str) -> f64 {
    value(text, &format!("countersign_requests_total{{code=\"{code}\",enforced=\"true\"}}"))
}

/// A zero-sized recorder, as small as the no-op recorder.
struct ZeroSizedRecorder;

static SAMPLES: AtomicUsize = AtomicUsize::new(0);

impl Recorder for ZeroSizedRecorder {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        struct Counting;

        impl HistogramFn for Counting {
            fn record(&self, _: f64) {
                SAMPLES.fetch_add(1, Relaxed);
            }
        }
        Histogram::from_arc(Arc::new(Counting))
    }
}

/// A clock that counts its monotonic reads.
#[derive(Clone)]
struct CountingClock(ManualClock, Arc<AtomicUsize>);

impl Clock for CountingClock {
    fn wall(&self) -> Duration {
        self.0.wall()
    }

    fn monotonic(&self) -> Duration {
        self.1.fetch_add(1, Relaxed);
        self.0.monotonic()
    }
}

/// The number of monotonic clock reads for one request.
async fn clock_reads_per_request() -> usize {
    let clock = CountingClock(ManualClock::at(NOW), Arc::default());
    let verifier = Verifier::new(rig::keys()).with_clock(clock.clone());
    let before = clock.1.load(Relaxed);
    rig::verify(&verifier, signed(get("/"))).await.unwrap();
    clock.1.load(Relaxed) - before
}

#[test]
fn nothing_is_measured_without_a_recorder() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let unmeasured = runtime.block_on(clock_reads_per_request());
    assert_eq!(unmeasured, 2, "at the start, and before the signature check");
    let mut measured = 0;
    metrics_of(async { measured = clock_reads_per_request().await });
    assert!(measured > unmeasured);
}

#[test]
fn zero_sized_recorder_records_samples() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    ::metrics::with_local_recorder(&ZeroSizedRecorder, || runtime.block_on(clock_reads_per_request()));
    assert_eq!(SAMPLES.load(Relaxed), 4, "the skew, the times of both stores, and the total time");
}

/// Panics when a metric is registered, or later when it is used.
struct PanickingRecorder {
    registers: bool,
}

impl PanickingRecorder {
    fn register<T>(&self, registered: T) -> T {
        assert!(self.registers, "on purpose");
        registered
    }
}

struct PanickingMetric;

impl CounterFn for PanickingMetric {
    fn increment(&self, _: u64) {
        panic!("on purpose");
    }

    fn absolute(&self, _: u64) {
        panic!("on purpose");
    }
}

impl GaugeFn for PanickingMetric {
    fn increment(&self, _: f64) {
        panic!("on purpose");
    }

    fn decrement(&self, _: f64) {
        panic!("on purpose");
    }

    fn set(&self, _: f64) {
        panic!("on purpose");
    }
}

impl HistogramFn for PanickingMetric {
    fn record(&self, _: f64) {
        panic!("on purpose");
    }
}

impl Recorder for PanickingRecorder {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        self.register(());
    }

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        self.register(());
    }

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        self.register(());
    }

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        self.register(Counter::from_arc(Arc::new(PanickingMetric)))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        self.register(Gauge::from_arc(Arc::new(PanickingMetric)))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        self.register(Histogram::from_arc(Arc::new(PanickingMetric)))
    }
}

#[test]
fn panicking_recorder_changes_no_response() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for registers in [false, true] {
        ::metrics::with_local_recorder(&PanickingRecorder { registers }, || {
            runtime.block_on(async {
                let calls = Arc::new(AtomicUsize::new(0));
                let hook = calls.clone();
                let verifier = verifier().0.with_observer(move |_| {
                    hook.fetch_add(1, Relaxed);
                });
                let request = signed(get("/"));
                assert!(rig::verify(&verifier, request.clone()).await.is_ok());
                assert_eq!(rig::code(&verifier, request).await, "replayed_nonce");
                assert_eq!(rig::code(&verifier, get("/")).await, "unsigned");
                assert_eq!(calls.load(Relaxed), 3, "the hook is still called");
            });
        });
    }
}

#[test]
fn requests_are_counted_by_outcome() {
    let text = metrics_of(async {
        let verifier = verifier().0.with_insecure_bypass(|_, uri| uri.path() == "/health").with_streamed_bodies();
        let replayed = signed(get("/"));
        for request in [replayed.clone(), replayed.clone(), replayed, get("/"), get("/health")] {
            let _ = rig::verify(&verifier, request).await;
        }
        drop(rig::verify(&verifier, signed(post("/", "text/plain", "unread"))).await);
    });
    assert_eq!(requests(&text, "verified"), 1.0);
    assert_eq!(requests(&text, "replayed_nonce"), 2.0);
    assert_eq!(requests(&text, "unsigned"), 1.0);
    assert_eq!(requests(&text, "bypassed"), 1.0);
    assert_eq!(requests(&text, "body_not_read"), 1.0);
    // All series exist from the start. Prometheus does not see an increase in a series that starts at 1.
    for code in ["cancelled", "unavailable", "misconfigured", "stale_timestamp", "body_mismatch", "invalid_token"] {
        assert_eq!(requests(&text, code), 0.0);
    }
}

#[test]
fn rejections_are_counted_by_code() {
    let text = metrics_of(async {
        let streaming = verifier().0.with_streamed_bodies();
        for (request, _) in crate::outcomes::table() {
            let _ = rig::verify(&streaming, request).await.map(|request| drop(request.into_body()));
        }
    });
    for (code, times) in [
        ("stale_timestamp", 3.0),
        ("replayed_nonce", 1.0),
        ("malformed_field", 3.0),
        ("malformed_parameters", 1.0),
        // One of the two is bypassed in the table, but this verifier has no bypass.
        ("unsigned", 2.0),
        ("missing_field", 2.0),
        ("body_not_read", 1.0),
        ("verified", 3.0),
    ] {
        assert_eq!(requests(&text, code), times, "{code}");
    }
    assert_eq!(invalid_signatures(&text), [1.0, 0.0, 0.0]);
}

#[test]
fn reported_requests_have_their_own_label() {
    let text = metrics_of(async {
        let answer = async |_: Request<ServiceBody>| Ok::<_, Infallible>(Response::new(()));
        let layer = ReportOnlyLayer::new(verifier().0, |_, _| {});
        layer.layer(service_fn(answer)).oneshot(incoming(get("/"))).await.unwrap();
    });
    assert_eq!(value(&text, "countersign_requests_total{code=\"unsigned\",enforced=\"false\"}"), 1.0);
    assert!(!text.contains("enforced=\"true\""), "{text}");
}

#[test]
fn skew_and_times_have_verdict_and_store_labels() {
    let text = metrics_of(async {
        let clock = ManualClock::at(NOW);
        let in_keys = clock.clone();
        let keys = key_fn(move |app: AppId| {
            in_keys.advance(Duration::from_millis(20));
            async move { if app.as_str() == "demo" { Ok(Some(rig::secret())) } else { Err("no route") } }
        });
        let verifier = Verifier::new(keys).with_clock(clock);
        verifier.verify(incoming(signed_by(&rig::signer(), NOW + 100, get("/")))).await.unwrap();
        verifier.verify(incoming(signed_by(&rig::signer(), NOW - 1000, get("/")))).await.unwrap_err();
        let other = Signer::new("other".parse().unwrap(), rig::secret());
        verifier.verify(incoming(signed_by(&other, NOW, get("/")))).await.unwrap_err();
    });
    assert_eq!(value(&text, "countersign_skew_seconds_sum{verdict=\"verified\"}"), 100.0);
    assert_eq!(value(&text, "countersign_skew_seconds_sum{verdict=\"refused\"}"), -1000.0);
    assert_eq!(value(&text, "countersign_skew_seconds_bucket{verdict=\"refused\",le=\"-300\"}"), 1.0);
    assert_eq!(value(&text, "countersign_verify_seconds_sum{verdict=\"verified\"}"), 0.02);
    assert_eq!(value(&text, "countersign_verify_seconds_count{verdict=\"refused\"}"), 2.0);
    assert_eq!(value(&text, "countersign_store_seconds_sum{store=\"keys\"}"), 0.04);
    assert_eq!(
        value(&text, "countersign_store_seconds_count{store=\"nonces\"}"),
        1.0,
        "the other two claimed no nonce"
    );
    assert_eq!(value(&text, "countersign_store_errors_total{store=\"keys\"}"), 1.0);
    assert_eq!(value(&text, "countersign_store_errors_total{store=\"nonces\"}"), 0.0);
}

#[test]
fn extreme_skew_is_clamped_in_the_sum() {
    let text = metrics_of(async {
        let verifier = verifier().0;
        let rejected = signed_by(&rig::signer(), 999_999_999_999_999_999, get("/"));
        verifier.verify(incoming(rejected)).await.unwrap_err();
        verifier.verify(incoming(signed_by(&rig::signer(), NOW - 1000, get("/")))).await.unwrap_err();
    });
    assert_eq!(value(&text, "countersign_skew_seconds_sum{verdict=\"refused\"}"), 86_400.0 - 1000.0);
}

#[test]
fn request_stale_after_key_lookup_claims_no_nonce() {
    let text = metrics_of(async {
        let clock = ManualClock::at(NOW);
        let in_keys = clock.clone();
        let keys = key_fn(move |_| {
            in_keys.advance(Duration::from_secs(301));
            async { Ok::<_, Infallible>(Some(rig::secret())) }
        });
        let verifier = Verifier::new(keys).with_clock(clock);
        verifier.verify(incoming(signed(get("/")))).await.unwrap_err();
    });
    assert_eq!(requests(&text, "stale_timestamp"), 1.0);
    assert_eq!(value(&text, "countersign_store_seconds_count{store=\"keys\"}"), 1.0);
    assert!(!text.contains("countersign_store_seconds_count{store=\"nonces\"} 1"), "{text}");
}

#[test]
fn gauges_show_a_full_store() {
    let text = metrics_of(async {
        let verifier = rig::verifier_on(MemoryNonceStore::with_capacity(2)).0;
        for _ in 0..4 {
            let _ = rig::verify(&verifier, signed(get("/"))).await;
        }
    });
    assert_eq!(value(&text, "countersign_nonces_capacity"), 2.0);
    assert_eq!(value(&text, "countersign_nonces_held"), requests(&text, "verified"));
    assert_eq!(value(&text, "countersign_store_errors_total{store=\"nonces\"}"), requests(&text, "unavailable"));
    assert!(requests(&text, "unavailable") > 0.0);
}

/// A nonce store that answers after the request has expired.
struct SlowStore(ManualClock);

impl NonceStore for SlowStore {
    async fn claim(&self, _: &NonceClaim<'_>, _: Retention) -> Result<NonceStatus, StoreError> {
        self.0.advance(Duration::from_secs(400));
        Ok(NonceStatus::New)
    }

    fn is_persistent(&self) -> bool {
        true
    }
}

#[test]
fn slow_nonce_claim_is_measured() {
    let text = metrics_of(async {
        let clock = ManualClock::at(NOW);
        let verifier = Verifier::new(rig::keys()).with_nonces(SlowStore(clock.clone())).with_clock(clock);
        assert_eq!(rig::code(&verifier, signed(get("/"))).await, "stale_timestamp");
    });
    assert_eq!(value(&text, "countersign_store_seconds_count{store=\"nonces\"}"), 1.0);
    assert_eq!(value(&text, "countersign_store_errors_total{store=\"nonces\"}"), 0.0);
}

#[test]
fn store_without_occupancy_has_no_gauges() {
    let text = metrics_of(async {
        let verifier = rig::verifier_on(crate::replay::FailingStore).0;
        let _ = rig::verify(&verifier, signed(get("/"))).await;
    });
    assert_eq!(value(&text, "countersign_store_seconds_count{store=\"nonces\"}"), 1.0, "the nonce was claimed");
    assert!(!text.contains("countersign_nonces_"), "{text}");
}

#[test]
fn occupancy_is_available_through_pointers() {
    let full = Occupancy::new(0, 7);
    let store = || MemoryNonceStore::with_capacity(7);
    assert_eq!(std::sync::Arc::new(store()).occupancy(), Some(full));
    let boxed: Box<dyn DynNonceStore> = Box::new(store());
    assert_eq!(boxed.occupancy(), Some(full));
    assert_eq!(crate::replay::FailingStore.occupancy(), None);
}

#[test]
fn only_keys_that_verified_are_counted() {
    let text = metrics_of(async {
        let new = Secret::new("fedcba9876543210fedcba9876543210").unwrap();
        let ring = KeyRing::new([new.clone(), rig::secret()]).unwrap();
        let keys = StaticKeys::new([("demo".parse().unwrap(), ring)]).unwrap();
        let verifier = Verifier::new(keys).with_clock(ManualClock::at(NOW));
        let signer = |app: &str, secret| Signer::new(app.parse().unwrap(), secret);
        for (signer, times) in [(signer("demo", new), 3), (rig::signer(), 2), (signer("nobody", rig::secret()), 1)] {
            for _ in 0..times {
                let _ = verifier.verify(incoming(signed_by(&signer, NOW, get("/")))).await;
            }
        }
    });
    assert_eq!(value(&text, "countersign_key_uses_total{app=\"demo\",key=\"#0\"}"), 3.0);
    assert_eq!(value(&text, "countersign_key_uses_total{app=\"demo\",key=\"#1\"}"), 2.0);
    assert!(!text.contains("nobody"), "an unverified app id is not a label");
}

/// A run that exports every metric.
fn everything() -> String {
    metrics_of(async {
        let (verifier, _) = verifier();
        for request in [signed(get("/")), get("/")] {
            let _ = rig::verify(&verifier, request).await;
        }
        let answer = service_fn(async |_: Request<ServiceBody>| {
            Ok::<_, Infallible>(Response::new(http_body_util::Full::<bytes::Bytes>::default()))
        });
        let once = SubmitOnceLayer::by_fingerprint(Duration::from_secs(10));
        let service = verifier.with_fingerprints().into_layer().layer(once.layer(answer));
        for _ in 0..2 {
            let request = incoming(signed(post("/", "text/plain", "order")));
            let _ = service.clone().oneshot(request).await;
        }
    })
}

#[test]
fn submissions_are_counted_by_outcome() {
    let text = everything();
    assert_eq!(value(&text, "countersign_submissions_total{outcome=\"done\"}"), 1.0);
    assert_eq!(value(&text, "countersign_submissions_total{outcome=\"duplicate\"}"), 1.0);
}

/// The family of a sample. A histogram has three samples.
fn family(name: &str) -> &str {
    ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

/// The metric names in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("countersign_")).collect()
}

fn families(text: &str) -> BTreeSet<&str> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect()
}

#[test]
fn guide_lists_every_metric() {
    let rows = GUIDE.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let rows: BTreeSet<&str> = rows.filter(|name| name.starts_with("countersign_")).collect();
    let text = everything();
    assert_eq!(rows, families(&text));
    for name in families(&text) {
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no description");
    }
}

#[test]
fn dashboard_queries_all_exported_metrics() {
    let text = everything();
    let exported = names(&text);
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let queries = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries: Vec<&str> = queries.map(|target| target["expr"].as_str().unwrap()).collect();
    let queried: BTreeSet<&str> = queries.iter().flat_map(|query| names(query)).collect();
    assert!(queried.is_subset(&exported), "{queried:?} of {exported:?}");
    assert_eq!(queried.into_iter().map(family).collect::<BTreeSet<_>>(), families(&text));
    // The dashboard selects and sums by labels that are exported.
    for label in ["code", "enforced", "verdict", "store", "app", "key"] {
        assert!(text.contains(&format!("{label}=\"")), "{label}");
        assert!(queries.iter().any(|query| query.contains(label)), "{label}");
    }
}

#[test]
fn dashboard_can_be_imported() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    assert_eq!(dashboard["id"], Value::Null, "an id would overwrite another dashboard");
    assert!(dashboard["uid"].is_string() && dashboard["title"].is_string());
    assert_eq!(dashboard["__inputs"][0]["pluginId"], "prometheus");
    let source = format!("${{{}}}", dashboard["__inputs"][0]["name"].as_str().unwrap());
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    for panel in panels {
        assert_eq!(panel["datasource"]["uid"], *source, "{}", panel["title"]);
        let place = &panel["gridPos"];
        assert!(place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24, "{}", panel["title"]);
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            assert_eq!(query.matches('(').count(), query.matches(')').count(), "{query}");
        }
    }
}
