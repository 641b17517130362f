//! The store is slow, fails, hangs, panics and recovers.

use countersign::RejectionKind;
use futures_util::{FutureExt, future::join_all};

use super::*;

const FAILED: &str = "the key store failed";
const LATE: &str = "the key store did not answer within 250 ms";
const PANICKED: &str = "the key store panicked";
const GRACE: Duration = Duration::from_secs(300);

/// Knows `demo` by key 1, whose TTL is over.
async fn expired_with_grace(grace: Duration) -> (CachedKeys<Database>, Database, ManualClock) {
    let (keys, database, clock) = cached();
    let keys = keys.with_grace(grace);
    assert_eq!(ask(&keys, "demo").await, "key 1");
    clock.advance(TTL);
    (keys, database, clock)
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_has_until_the_deadline() {
    let (keys, database, clock) = cached();
    database.is(Mood::Slow(DEADLINE - MS));
    assert_eq!(ask(&keys, "demo").await, "key 1");
    clock.advance(TTL);
    database.is(Mood::Slow(DEADLINE + MS));
    let start = Instant::now();
    assert_eq!(ask(&keys, "demo").await, LATE);
    assert!(start.elapsed() <= DEADLINE + MS, "{:?}", start.elapsed());
    settle().await;
    assert_eq!(database.in_flight(), 0, "the look-up was given up");
}

#[tokio::test(start_paused = true)]
async fn hung_store_fails_all_callers_at_deadline() {
    let (keys, database, _) = cached();
    database.is(Mood::Hanging);
    let start = Instant::now();
    let answers = join_all((0..1000).map(|_| ask(&keys, "demo"))).await;
    assert!(start.elapsed() <= DEADLINE + MS, "{:?}", start.elapsed());
    assert!(answers.iter().all(|answer| answer == LATE));
    assert_eq!((database.asked(), database.max_in_flight()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn failed_lookup_is_retried_with_backoff() {
    let (keys, database, clock) = cached();
    database.is(Mood::Failing);
    let mut asked = 0;
    for pause in [100, 200, 400, 800, 1000, 1000] {
        assert_eq!(ask_at_once(&keys, "demo").await, FAILED);
        asked += 1;
        clock.advance(pause * MS - MS);
        for _ in 0..10 {
            let answer = ask(&keys, "demo").now_or_never();
            assert_eq!(answer.as_deref(), Some(FAILED), "without a task of its own");
        }
        assert_eq!(database.asked(), asked, "not before {pause} ms have passed");
        clock.advance(MS);
    }
    database.is(Mood::Well);
    assert_eq!(ask(&keys, "demo").await, "key 1", "well again");
    clock.advance(TTL);
    database.is(Mood::Failing);
    ask(&keys, "demo").await;
    clock.advance(100 * MS);
    database.is(Mood::Well);
    assert_eq!(ask(&keys, "demo").await, "key 1", "the first pause is the shortest again");
}

#[tokio::test(start_paused = true)]
async fn one_app_that_fails_leaves_the_others_alone() {
    let (keys, database, _) = cached();
    database.is_for("broken", Mood::Failing);
    for n in 1..=10 {
        database.set(&format!("app-{n}"), n);
        assert_eq!(ask(&keys, "broken").await, FAILED);
        assert_eq!(ask(&keys, &format!("app-{n}")).await, format!("key {n}"));
    }
    assert_eq!(database.asked_for("broken"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_panics_has_failed() {
    let (keys, database, clock) = cached();
    database.is(Mood::Panicking);
    let answers = join_all((0..10).map(|_| ask(&keys, "demo"))).await;
    assert!(answers.iter().all(|answer| answer == PANICKED), "{answers:?}");
    assert_eq!(ask_at_once(&keys, "demo").await, PANICKED);
    assert_eq!(database.asked(), 1);
    database.is(Mood::Well);
    clock.advance(100 * MS);
    assert_eq!(ask(&keys, "demo").await, "key 1");
}

#[tokio::test(start_paused = true)]
async fn without_grace_expired_keys_fail() {
    for mood in [Mood::Failing, Mood::Hanging, Mood::Panicking] {
        let (keys, database, clock) = expired_with_grace(Duration::ZERO).await;
        database.is(mood);
        for _ in 0..3 {
            let answer = ask(&keys, "demo").await;
            assert!([FAILED, LATE, PANICKED].contains(&&*answer), "{answer}");
            clock.advance(SECOND);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_caller_gets_a_503() {
    let (keys, database, clock) = expired_with_grace(Duration::ZERO).await;
    database.is(Mood::Hanging);
    let verifier = Verifier::new(keys).with_clock(clock.clone());
    let signer = Signer::new(app("demo"), secret(1));
    let request = rig::signed_by(&signer, NOW + TTL.as_secs(), rig::get("/"));
    let rejection = verifier.verify(rig::arriving(request)).await.unwrap_err();
    assert_eq!(rejection.kind(), RejectionKind::Unavailable);
    let detail = format!("{:?}", rejection.to_response());
    assert!(!detail.contains("250 ms"), "the cause is for operators: {detail}");
}

#[tokio::test(start_paused = true)]
async fn stale_keys_are_returned_during_grace() {
    let (keys, database, clock) = expired_with_grace(GRACE).await;
    database.is(Mood::Hanging);
    let start = Instant::now();
    let answers = join_all((0..10).map(|_| ask(&keys, "demo"))).await;
    assert!(answers.iter().all(|answer| answer == "key 1"), "{answers:?}");
    assert!(start.elapsed() <= DEADLINE + MS && start.elapsed() >= DEADLINE, "{:?}", start.elapsed());
    settle().await;
    assert_eq!(database.asked(), 2);
    clock.advance(SECOND);
    for _ in 0..100 {
        assert_eq!(ask_at_once(&keys, "demo").await, "key 1");
        settle().await;
    }
    assert_eq!((database.asked(), database.in_flight()), (3, 1), "one at a time finds out");
}

#[tokio::test(start_paused = true)]
async fn the_store_that_is_back_is_believed() {
    let (keys, database, clock) = expired_with_grace(GRACE).await;
    database.is(Mood::Failing);
    assert_eq!(ask(&keys, "demo").await, "key 1");
    clock.advance(SECOND);
    assert_eq!(ask(&keys, "demo").await, "key 1");
    settle().await;
    database.is(Mood::Well);
    database.set("demo", 2);
    clock.advance(SECOND);
    assert_eq!(ask_at_once(&keys, "demo").await, "key 1", "nobody waits for the look-up that finds it well");
    settle().await;
    assert_eq!(ask(&keys, "demo").await, "key 2");
}

#[tokio::test(start_paused = true)]
async fn a_look_up_that_failed_long_ago_is_no_outage() {
    let (keys, database, clock) = expired_with_grace(GRACE).await;
    database.is(Mood::Failing);
    assert_eq!(ask(&keys, "demo").await, "key 1");
    database.is(Mood::Well);
    database.set("demo", 2);
    clock.advance(100 * MS + DEADLINE + SECOND);
    assert_eq!(ask(&keys, "demo").await, "key 2", "the store is asked before old keys are used");
}

#[tokio::test(start_paused = true)]
async fn a_retired_key_fails_when_the_grace_is_over() {
    for mood in [Mood::Failing, Mood::Hanging, Mood::Panicking] {
        let (keys, database, clock) = expired_with_grace(GRACE).await;
        database.is(mood);
        assert_eq!(ask(&keys, "demo").await, "key 1");
        clock.advance(GRACE - MS);
        assert_eq!(ask(&keys, "demo").await, "key 1");
        settle().await;
        clock.advance(MS);
        let answer = ask(&keys, "demo").await;
        assert!([FAILED, LATE, PANICKED].contains(&&*answer), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_grace_may_end_while_a_look_up_is_waited_for() {
    let (keys, database, clock) = expired_with_grace(GRACE).await;
    database.is(Mood::Hanging);
    clock.advance(GRACE - MS);
    let (answer, ()) = tokio::join!(ask(&keys, "demo"), async {
        settle().await;
        clock.advance(MS);
    });
    assert_eq!(answer, LATE);
}

#[tokio::test(start_paused = true)]
async fn grace_does_not_revive_a_disabled_app() {
    let (keys, database, clock) = expired_with_grace(GRACE).await;
    database.remove("demo");
    assert_eq!(ask(&keys, "demo").await, "none");
    database.is(Mood::Failing);
    assert_eq!(ask(&keys, "demo").await, "none");
    clock.advance(UNKNOWN_TTL);
    for _ in 0..3 {
        assert_eq!(ask(&keys, "demo").await, FAILED);
        clock.advance(SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn an_app_that_is_disabled_during_an_outage_is_refused_after_it() {
    let (keys, database, clock) = expired_with_grace(GRACE).await;
    database.is(Mood::Failing);
    assert_eq!(ask(&keys, "demo").await, "key 1");
    database.remove("demo");
    database.is(Mood::Well);
    clock.advance(SECOND);
    ask(&keys, "demo").await;
    settle().await;
    assert_eq!(ask(&keys, "demo").await, "none");
}

#[tokio::test(start_paused = true)]
async fn there_is_no_grace_for_an_app_that_had_no_keys() {
    let (keys, database, clock) = cached();
    let keys = keys.with_grace(GRACE);
    assert_eq!(ask(&keys, "stranger").await, "none");
    database.is(Mood::Failing);
    clock.advance(UNKNOWN_TTL);
    assert_eq!(ask(&keys, "stranger").await, FAILED);
    assert_eq!(ask(&keys, "another").await, FAILED);
}

#[test]
fn stale_keys_are_logged_once_a_minute() {
    // One in six seconds.
    for (requests, told) in [(0, 0), (1, 1), (10, 1), (11, 2), (20, 2), (21, 3), (30, 3)] {
        let log = crate::secrets::log_of(|_| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let (keys, database, clock) = expired_with_grace(GRACE).await;
                database.is(Mood::Failing);
                for _ in 0..requests {
                    ask(&keys, "demo").await;
                    settle().await;
                    clock.advance(6 * SECOND);
                }
            });
        });
        assert_eq!(log.matches("keys are used beyond their time").count(), told, "{requests}: {log}");
        assert_eq!(log.contains("no route to the database"), told > 0, "{log}");
    }
}
