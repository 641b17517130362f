//! Each state of a submission, and what a repeated request gets.

use std::time::Duration;

use countersign::{
    Rejection,
    clock::ManualClock,
    store::EntryState,
    submission::{End, Ending, SubmitOnceLayer},
};
use http::{Method, StatusCode};

use super::shop::{Shop, by_key, memory, request, respond, scheme, send, signer, submission, until, verifier};
use crate::rig::{NOW, signed_by};

struct Rig {
    shop: Shop,
    layer: SubmitOnceLayer,
    clock: ManualClock,
}

fn rig() -> Rig {
    let (store, clock) = memory();
    Rig { shop: Shop::new(), layer: by_key().with_store(store), clock }
}

#[tokio::test]
async fn first_request_runs() {
    let Rig { shop, layer, .. } = rig();
    let first = send(&shop.router(&layer), submission("/pay", "k", "order")).await;
    assert_eq!(first.brief(), (201, "false"));
    assert_eq!(first.body, "run 1, key k: order");
}

#[tokio::test]
async fn repeated_request_gets_the_stored_answer() {
    let Rig { shop, layer, .. } = rig();
    let router = shop.router(&layer);
    let first = send(&router, submission("/pay", "k", "order")).await;
    for spelling in ["k", "\"k\""] {
        // The spelling is signed as it is sent, and is the same key.
        let again = send(&router, submission("/pay", spelling, "order")).await;
        assert_eq!((again.brief(), &again.body), ((201, "true"), &first.body));
        assert_eq!(again.headers["location"], "/payments/1");
        assert_eq!(again.headers["x-shop"], "1");
    }
    assert_eq!(shop.runs(), 1);
}

#[tokio::test]
async fn running_submission_is_in_progress() {
    let Rig { shop, layer, .. } = rig();
    let router = shop.router(&layer);
    let first = tokio::spawn({
        let router = router.clone();
        async move { send(&router, submission("/gated", "k", "")).await }
    });
    until(|| shop.runs() == 1).await;
    let second = send(&router, submission("/gated", "k", "")).await;
    assert_eq!(second.brief(), (409, "submission_in_progress"));
    assert_eq!(second.headers["retry-after"], "1");
    // The lease of a minute, and the TTL of a day after it.
    assert_eq!(second.json()["expires_in"], 24 * 3600 + 60);
    shop.gate.add_permits(1);
    assert_eq!(first.await.unwrap().brief(), (200, "false"));
    assert_eq!(send(&router, submission("/gated", "k", "")).await.brief(), (200, "true"));
    assert_eq!(shop.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn wait_ends_with_the_answer() {
    let Rig { shop, layer, .. } = rig();
    let router = shop.router(&layer.with_wait(Duration::from_secs(10)));
    let send_one = || {
        let router = router.clone();
        tokio::spawn(async move { send(&router, submission("/gated", "k", "")).await })
    };
    let first = send_one();
    until(|| shop.runs() == 1).await;
    let second = send_one();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!second.is_finished());
    shop.gate.add_permits(1);
    assert_eq!(first.await.unwrap().brief(), (200, "false"));
    assert_eq!(second.await.unwrap().brief(), (200, "true"));
}

#[tokio::test(start_paused = true)]
async fn wait_is_bounded() {
    let Rig { shop, layer, .. } = rig();
    let router = shop.router(&layer.with_wait(Duration::from_secs(10)));
    let first = tokio::spawn({
        let router = router.clone();
        async move { send(&router, submission("/gated", "k", "")).await }
    });
    until(|| shop.runs() == 1).await;
    let start = tokio::time::Instant::now();
    let second = send(&router, submission("/gated", "k", "")).await;
    assert_eq!(second.brief(), (409, "submission_in_progress"));
    assert_eq!(start.elapsed().as_secs(), 10);
    first.abort();
}

#[tokio::test]
async fn unknown_outcome_does_not_run_again() {
    for code in [500, 502, 503, 504, 599, 408, 499] {
        let Rig { shop, layer, clock } = rig();
        let router = shop.router(&layer);
        let path = format!("/status/{code}");
        assert_eq!(send(&router, submission(&path, "k", "")).await.brief(), (code, "false"));
        clock.advance(Duration::from_secs(100));
        let again = send(&router, submission(&path, "k", "")).await;
        assert_eq!(again.brief(), (409, "submission_outcome_unknown"), "{code}");
        assert_eq!(again.json()["expires_in"], 24 * 3600 - 100);
        assert_eq!(shop.runs(), 1);
    }
}

#[tokio::test]
async fn client_error_releases_the_submission() {
    for code in [400, 402, 404, 409, 422, 429, 451] {
        let Rig { shop, layer, .. } = rig();
        let router = shop.router(&layer);
        let path = format!("/status/{code}");
        for run in 1..=2 {
            let answer = send(&router, submission(&path, "k", "")).await;
            assert_eq!((answer.brief(), &answer.body), ((code, "false"), &format!("run {run}")));
        }
    }
}

#[tokio::test]
async fn redirect_is_done() {
    let Rig { shop, layer, .. } = rig();
    let router = shop.router(&layer);
    assert_eq!(send(&router, submission("/status/303", "k", "")).await.brief(), (303, "false"));
    assert_eq!(send(&router, submission("/status/303", "k", "")).await.brief(), (303, "true"));
}

#[tokio::test]
async fn unstored_answer_is_a_duplicate() {
    let Rig { shop, layer, .. } = rig();
    let router = shop.router(&layer.without_replay());
    send(&router, submission("/pay", "k", "order")).await;
    let again = send(&router, submission("/pay", "k", "order")).await;
    assert_eq!(again.brief(), (409, "duplicate_submission"));
    let problem = again.json();
    assert_eq!((&problem["first_status"], &problem["location"]), (&201.into(), &"/payments/1".into()));
    assert_eq!(problem["expires_in"], 24 * 3600);
    assert_eq!(shop.runs(), 1);
}

#[tokio::test]
async fn same_key_with_another_request_is_422() {
    let Rig { shop, layer, .. } = rig();
    let router = shop.router(&layer);
    // Done, unknown, and running: the state does not matter.
    send(&router, submission("/pay", "done", "order")).await;
    let other = send(&router, submission("/pay", "done", "other")).await;
    assert_eq!(other.brief(), (422, "idempotency_key_reused"));
    assert_eq!(other.json()["field"], "idempotency-key");
    send(&router, submission("/status/500", "unknown", "")).await;
    assert_eq!(send(&router, submission("/status/500", "unknown", "x")).await.brief(), (422, "idempotency_key_reused"));
    let running = tokio::spawn({
        let router = router.clone();
        async move { send(&router, submission("/gated", "running", "")).await }
    });
    until(|| shop.runs() == 3).await;
    let other = send(&router, submission("/gated", "running", "x")).await;
    assert_eq!(other.brief(), (422, "idempotency_key_reused"));
    // The query is part of the request, and not of the place.
    let other = send(&router, submission("/pay?x=1", "done", "order")).await;
    assert_eq!(other.brief(), (422, "idempotency_key_reused"));
    assert_eq!(shop.runs(), 3);
    running.abort();
}

#[tokio::test]
async fn submission_expires_after_its_ttl() {
    let Rig { shop, layer, clock } = rig();
    let router = shop.router(&layer.with_ttl(Duration::from_secs(60)));
    send(&router, submission("/pay", "k", "order")).await;
    clock.advance(Duration::from_secs(59));
    assert_eq!(send(&router, submission("/pay", "k", "order")).await.brief(), (201, "true"));
    // The repetition has prolonged nothing.
    clock.advance(Duration::from_secs(1));
    assert_eq!(send(&router, submission("/pay", "k", "order")).await.brief(), (201, "false"));
}

#[tokio::test]
async fn safe_methods_pass() {
    let Rig { shop, layer, .. } = rig();
    let router = shop.router(&layer);
    for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE] {
        for _ in 0..2 {
            let mut request = request("/status/200", None, "");
            *request.method_mut() = method.clone();
            let answer = send(&router, signed_by(&signer(), NOW, request)).await;
            assert_eq!(answer.brief(), (200, ""), "{method}");
        }
    }
    assert_eq!(shop.runs(), 8);
    for method in [Method::PUT, Method::PATCH, Method::DELETE, Method::from_bytes(b"MERGE").unwrap()] {
        let mut request = request("/status/200", Some("k"), "");
        *request.method_mut() = method.clone();
        let answer = send(&router, signed_by(&signer(), NOW, request)).await;
        assert_eq!(answer.brief(), (200, "false"), "{method}: another method is another submission");
    }
}

#[tokio::test]
async fn operator_settles_and_forgets_submissions() {
    let Rig { shop, layer, .. } = rig();
    let router = shop.router(&layer);
    let scope = countersign::submission::SubmissionScope::new("demo".parse().unwrap());
    let at = scope.by_key(&scheme(), &Method::POST, "/status/500", &"k".parse().unwrap());
    assert_eq!(layer.state(&at).await.unwrap(), None);
    send(&router, submission("/status/500", "k", "")).await;
    assert_eq!(layer.state(&at).await.unwrap().unwrap().state, EntryState::Unknown);

    // It was found out that it was carried out.
    let answer = countersign::store::StoredAnswer::new(StatusCode::CREATED, None);
    assert!(layer.settle(&at, &countersign::store::Finish::Done(answer)).await.unwrap());
    let again = send(&router, submission("/status/500", "k", "")).await;
    assert_eq!((again.brief(), &again.json()["first_status"]), ((409, "duplicate_submission"), &201.into()));
    assert!(!layer.settle(&at, &countersign::store::Finish::Release).await.unwrap(), "it is not unknown any more");

    assert!(layer.forget(&at).await.unwrap());
    assert_eq!(send(&router, submission("/status/500", "k", "")).await.brief(), (500, "false"));
    assert_eq!(shop.runs(), 2);
}

#[tokio::test]
async fn rejections_reach_outer_layers() {
    let Rig { shop, layer, .. } = rig();
    let router = shop.router(&layer);
    let response = respond(&router, signed_by(&signer(), NOW, request("/pay", None, ""))).await;
    let rejection = response.extensions().get::<Rejection>().unwrap();
    assert_eq!((rejection.kind().code(), rejection.field()), ("missing_field", Some("idempotency-key")));
    assert_eq!(response.headers()["cache-control"], "no-store");
}

#[tokio::test]
async fn rules_of_the_service_go_before_defaults() {
    let (store, _) = memory();
    let rule = |ending| match ending {
        Ending::Status(StatusCode::PAYMENT_REQUIRED) => Some(End::Done),
        Ending::Status(StatusCode::SERVICE_UNAVAILABLE) => Some(End::Release),
        Ending::Status(StatusCode::OK) => Some(End::Unknown),
        _ => None,
    };
    let (shop, layer) = (Shop::new(), by_key().with_store(store).end_as(rule));
    let router = shop.router_below(&layer, verifier());
    for (code, expected) in
        [(402, (402, "true")), (503, (503, "false")), (200, (409, "submission_outcome_unknown")), (404, (404, "false"))]
    {
        let path = format!("/status/{code}");
        send(&router, submission(&path, "k", "")).await;
        assert_eq!(send(&router, submission(&path, "k", "")).await.brief(), expected, "{code}");
    }
}
