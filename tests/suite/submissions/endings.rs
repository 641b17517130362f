//! How a run ends: panics, clients that go, lost leases, and ends that come late.

use std::time::Duration;

use axum::{Extension, Router, extract::State, http::StatusCode, routing::post};
use countersign::{
    clock::ManualClock,
    store::MemorySubmissionStore,
    submission::{Done, End, Ending, NothingDone, SubmitOnceLayer},
};
use tokio::{task::JoinHandle, time};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_http::catch_panic::CatchPanicLayer;

use super::shop::{Answer, Shop, by_key, memory, send, submission, until, verifier};

fn spawn(router: &Router, path: &'static str) -> JoinHandle<Answer> {
    let router = router.clone();
    tokio::spawn(async move { send(&router, submission(path, "k", "")).await })
}

async fn gated(router: &Router) -> Answer {
    send(router, submission("/gated", "k", "")).await
}

/// Lets as much time pass for the runtime as for the store, in steps that are shorter than a renewal.
async fn pass(clock: &ManualClock, seconds: u64) {
    for _ in 0..seconds / 5 {
        clock.advance(Duration::from_secs(5));
        time::advance(Duration::from_secs(5)).await;
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn panic_reaches_the_caller_and_is_unknown() {
    let (shop, layer) = (Shop::new(), by_key());
    let router = shop.router(&layer);
    let error = spawn(&router, "/panic").await.unwrap_err();
    assert_eq!(*error.into_panic().downcast::<&str>().unwrap(), "the handler panics");
    let again = send(&router, submission("/panic", "k", "")).await;
    assert_eq!(again.brief(), (409, "submission_outcome_unknown"));
    assert_eq!(shop.runs(), 1);
}

#[tokio::test]
async fn outer_layer_catches_the_panic() {
    let shop = Shop::new();
    let router = shop.router(&by_key()).layer(CatchPanicLayer::new());
    assert_eq!(send(&router, submission("/panic", "k", "")).await.status, 500);
    assert_eq!(send(&router, submission("/panic", "k", "")).await.brief(), (409, "submission_outcome_unknown"));
}

#[tokio::test]
async fn rule_releases_panics() {
    let shop = Shop::new();
    let rule = |ending| (ending == Ending::Panicked).then_some(End::Release);
    let router = shop.router(&by_key().end_as(rule)).layer(CatchPanicLayer::new());
    for _ in 0..2 {
        assert_eq!(send(&router, submission("/panic", "k", "")).await.status, 500);
    }
    assert_eq!(shop.runs(), 2);
}

#[tokio::test]
async fn panicking_rule_means_the_default() {
    let shop = Shop::new();
    let router = shop.router(&by_key().end_as(|_| panic!("a rule")));
    assert_eq!(send(&router, submission("/status/500", "k", "")).await.brief(), (500, "false"));
    assert_eq!(send(&router, submission("/status/500", "k", "")).await.brief(), (409, "submission_outcome_unknown"));
}

#[tokio::test]
async fn error_of_the_service_is_unknown() {
    let failing = service_fn(async |_| Err::<http::Response<axum::body::Body>, _>(std::io::Error::other("it broke")));
    let stack = ServiceBuilder::new().layer(verifier().into_layer()).layer(by_key()).service(failing);
    let send = || stack.clone().oneshot(submission("/", "k", "").map(axum::body::Body::from));
    assert_eq!(send().await.unwrap_err().to_string(), "it broke");
    assert_eq!(send().await.unwrap().headers()["x-error-code"], "submission_outcome_unknown");
}

#[tokio::test]
async fn client_that_goes_away_stops_nothing() {
    let (shop, layer) = (Shop::new(), by_key());
    let router = shop.router(&layer);
    let first = spawn(&router, "/gated");
    until(|| shop.runs() == 1).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert_eq!(gated(&router).await.brief(), (409, "submission_in_progress"));
    shop.gate.add_permits(1);
    layer.idle().await;
    let again = gated(&router).await;
    assert_eq!((again.brief(), &*again.body), ((200, "true"), "run 1"));
}

#[tokio::test]
async fn idle_waits_for_runs() {
    let (shop, layer) = (Shop::new(), by_key());
    layer.idle().await;
    let router = shop.router(&layer);
    let first = spawn(&router, "/gated");
    until(|| shop.runs() == 1).await;
    let (idle, is_idle) = (layer.clone(), tokio::sync::Semaphore::new(0));
    let waiting = tokio::spawn(async move { idle.idle().await });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished() && is_idle.available_permits() == 0);
    shop.gate.add_permits(1);
    waiting.await.unwrap();
    assert_eq!(first.await.unwrap().brief(), (200, "false"));
}

/// The runtime is dropped while a handler runs. The store in memory outlives it.
#[test]
fn dropped_runtime_leaves_the_outcome_unknown() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (shop, layer) = (Shop::new(), by_key());
    let router = shop.router(&layer);
    let first = runtime();
    first.block_on(async {
        spawn(&router, "/gated");
        until(|| shop.runs() == 1).await;
    });
    first.shutdown_timeout(Duration::from_secs(10));
    let second = runtime();
    let again = second.block_on(gated(&router));
    assert_eq!(again.brief(), (409, "submission_outcome_unknown"));
    assert_eq!(shop.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn lease_is_renewed_for_a_quarter_of_an_hour() {
    let (store, clock) = memory();
    let (shop, layer) = (Shop::new(), by_key().with_store(store));
    let router = shop.router(&layer);
    let first = spawn(&router, "/gated");
    until(|| shop.runs() == 1).await;
    for minute in 0..15 {
        assert_eq!(gated(&router).await.brief(), (409, "submission_in_progress"), "after {minute} minutes");
        pass(&clock, 60).await;
    }
    pass(&clock, 70).await;
    assert_eq!(gated(&router).await.brief(), (409, "submission_outcome_unknown"));
    // The handler went on. Its late end counts.
    shop.gate.add_permits(1);
    assert_eq!(first.await.unwrap().brief(), (200, "false"));
    assert_eq!(gated(&router).await.brief(), (200, "true"));
    assert_eq!(shop.runs(), 1);
}

/// A process that stood still: time has passed for the store, and not for the layer.
async fn lost(layer: SubmitOnceLayer, clock: &ManualClock, shop: &Shop) -> (Router, JoinHandle<Answer>) {
    let router = shop.router(&layer);
    let first = spawn(&router, "/gated");
    until(|| shop.runs() == 1).await;
    clock.advance(Duration::from_secs(60));
    (router, first)
}

#[tokio::test]
async fn lost_lease_is_unknown_until_its_end_comes() {
    let (store, clock) = memory();
    let shop = Shop::new();
    let (router, first) = lost(by_key().with_store(store), &clock, &shop).await;
    let again = gated(&router).await;
    assert_eq!(again.brief(), (409, "submission_outcome_unknown"));
    assert_eq!(again.json()["expires_in"], 24 * 3600, "the TTL begins at the lease's end");
    shop.gate.add_permits(1);
    assert_eq!(first.await.unwrap().brief(), (200, "false"));
    assert_eq!(gated(&router).await.brief(), (200, "true"));
    assert_eq!(shop.runs(), 1);
}

#[tokio::test]
async fn lost_lease_is_taken_over_if_the_service_allows() {
    let (store, clock) = memory();
    let shop = Shop::new();
    let rule = |ending| (ending == Ending::Lost).then_some(End::Release);
    let (router, first) = lost(by_key().with_store(store).end_as(rule), &clock, &shop).await;
    let second = spawn(&router, "/gated");
    until(|| shop.runs() == 2).await;
    // The gate is fair: the first run ends first. Its end is late, and does not count.
    shop.gate.add_permits(1);
    assert_eq!(first.await.unwrap().body, "run 1");
    assert_eq!(gated(&router).await.brief(), (409, "submission_in_progress"));
    shop.gate.add_permits(1);
    assert_eq!(second.await.unwrap().body, "run 2");
    assert_eq!(gated(&router).await.body, "run 2");
}

#[tokio::test]
async fn entry_outlives_its_lease_by_the_ttl() {
    let (store, clock) = memory();
    let shop = Shop::new();
    let layer = by_key().with_store(store).with_ttl(Duration::from_secs(10));
    let (router, first) = lost(layer, &clock, &shop).await;
    clock.advance(Duration::from_secs(9));
    assert_eq!(gated(&router).await.brief(), (409, "submission_outcome_unknown"));
    clock.advance(Duration::from_secs(1));
    let second = spawn(&router, "/gated");
    until(|| shop.runs() == 2).await;
    shop.gate.add_permits(2);
    first.await.unwrap();
    second.await.unwrap();
}

#[tokio::test]
async fn service_says_what_was_done() {
    async fn nothing(State(shop): State<Shop>) -> (StatusCode, Extension<NothingDone>, String) {
        (StatusCode::SERVICE_UNAVAILABLE, Extension(NothingDone), run(&shop))
    }
    async fn done(State(shop): State<Shop>) -> (StatusCode, Extension<Done>, String) {
        (StatusCode::PAYMENT_REQUIRED, Extension(Done), run(&shop))
    }
    async fn both(State(shop): State<Shop>) -> (StatusCode, Extension<Done>, Extension<NothingDone>, String) {
        (StatusCode::OK, Extension(Done), Extension(NothingDone), run(&shop))
    }
    fn run(shop: &Shop) -> String {
        shop.runs.fetch_add(1, std::sync::atomic::Ordering::SeqCst).to_string()
    }
    let shop = Shop::new();
    // The service's word goes before the rule.
    let layer = by_key().end_as(|_| Some(End::Unknown));
    let routes = Router::new().route("/nothing", post(nothing)).route("/done", post(done)).route("/both", post(both));
    let router = routes.with_state(shop).layer(layer).layer(verifier().into_layer());
    for (path, first, again) in [
        ("/nothing", (503, "false"), (503, "false")),
        ("/done", (402, "false"), (402, "true")),
        ("/both", (200, "false"), (200, "true")),
    ] {
        assert_eq!(send(&router, submission(path, "k", "")).await.brief(), first, "{path}");
        assert_eq!(send(&router, submission(path, "k", "")).await.brief(), again, "{path}");
    }
}

#[test]
fn call_outside_of_a_runtime_is_rejected() {
    use futures_util::FutureExt;
    let shop = Shop::new();
    let router = shop.router(&by_key().with_store(MemorySubmissionStore::new()));
    let answer = send(&router, submission("/pay", "k", "")).now_or_never().unwrap();
    assert_eq!(answer.brief(), (500, "misconfigured"));
    assert_eq!(shop.runs(), 0);
}
