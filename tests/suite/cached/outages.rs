//! The store is slow, fails, hangs, panics and recovers.

use countersign::RejectionKind;
use futures_util::{FutureExt, future::join_all};

use super::*;

const FAILED: &str = "the key store failed";
const LATE: &str = "the key store did not answer within 250 ms";
const PANICKED: &str = "the key store panicked";
const GRACE: Duration = Duration::from_secs(300);

/// A cache that has `demo` with key 1, whose TTL has expired.
async fn expired_with_grace(grace: Duration) -> (CachedKeys<Database>, Database, ManualClock) {
    let (keys, database, clock) = cached();
    let keys = keys.with_grace(grace);
    assert_eq!(look_up(&keys, "demo").await, "key 1");
    clock.advance(TTL);
    (keys, database, clock)
}

#[tokio::test(start_paused = true)]
async fn slow_store_can_answer_until_the_deadline() {
    let (keys, database, clock) = cached();
    database.set_behavior(Behavior::Slow(DEADLINE - MS));
    assert_eq!(look_up(&keys, "demo").await, "key 1");
    clock.advance(TTL);
    database.set_behavior(Behavior::Slow(DEADLINE + MS));
    let start = Instant::now();
    assert_eq!(look_up(&keys, "demo").await, LATE);
    assert!(start.elapsed() <= DEADLINE + MS, "{:?}", start.elapsed());
    settle().await;
    assert_eq!(database.in_flight(), 0, "the lookup was cancelled");
}

#[tokio::test(start_paused = true)]
async fn hung_store_fails_all_callers_at_deadline() {
    let (keys, database, _) = cached();
    database.set_behavior(Behavior::Hanging);
    let start = Instant::now();
    let answers = join_all((0..1000).map(|_| look_up(&keys, "demo"))).await;
    assert!(start.elapsed() <= DEADLINE + MS, "{:?}", start.elapsed());
    assert!(answers.iter().all(|answer| answer == LATE));
    assert_eq!((database.lookups(), database.max_in_flight()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn failed_lookup_is_retried_with_backoff() {
    let (keys, database, clock) = cached();
    database.set_behavior(Behavior::Failing);
    let mut lookups = 0;
    for pause in [100, 200, 400, 800, 1000, 1000] {
        assert_eq!(look_up_now(&keys, "demo").await, FAILED);
        lookups += 1;
        clock.advance(pause * MS - MS);
        for _ in 0..10 {
            let answer = look_up(&keys, "demo").now_or_never();
            assert_eq!(answer.as_deref(), Some(FAILED), "the error needs no task");
        }
        assert_eq!(database.lookups(), lookups, "no retry before {pause} ms");
        clock.advance(MS);
    }
    database.set_behavior(Behavior::Healthy);
    assert_eq!(look_up(&keys, "demo").await, "key 1", "the store has recovered");
    clock.advance(TTL);
    database.set_behavior(Behavior::Failing);
    look_up(&keys, "demo").await;
    clock.advance(100 * MS);
    database.set_behavior(Behavior::Healthy);
    assert_eq!(look_up(&keys, "demo").await, "key 1", "the backoff starts again with its shortest pause");
}

#[tokio::test(start_paused = true)]
async fn failing_app_does_not_affect_other_apps() {
    let (keys, database, _) = cached();
    database.set_behavior_for("broken", Behavior::Failing);
    for n in 1..=10 {
        database.set(&format!("app-{n}"), n);
        assert_eq!(look_up(&keys, "broken").await, FAILED);
        assert_eq!(look_up(&keys, &format!("app-{n}")).await, format!("key {n}"));
    }
    assert_eq!(database.lookups_of("broken"), 1);
}

#[tokio::test(start_paused = true)]
async fn panicking_store_is_a_failure() {
    let (keys, database, clock) = cached();
    database.set_behavior(Behavior::Panicking);
    let answers = join_all((0..10).map(|_| look_up(&keys, "demo"))).await;
    assert!(answers.iter().all(|answer| answer == PANICKED), "{answers:?}");
    assert_eq!(look_up_now(&keys, "demo").await, PANICKED);
    assert_eq!(database.lookups(), 1);
    database.set_behavior(Behavior::Healthy);
    clock.advance(100 * MS);
    assert_eq!(look_up(&keys, "demo").await, "key 1");
}

#[tokio::test(start_paused = true)]
async fn without_grace_expired_keys_fail() {
    for behavior in [Behavior::Failing, Behavior::Hanging, Behavior::Panicking] {
        let (keys, database, clock) = expired_with_grace(Duration::ZERO).await;
        database.set_behavior(behavior);
        for _ in 0..3 {
            let answer = look_up(&keys, "demo").await;
            assert!([FAILED, LATE, PANICKED].contains(&&*answer), "{answer}");
            clock.advance(SECOND);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn key_store_failure_returns_503() {
    let (keys, database, clock) = expired_with_grace(Duration::ZERO).await;
    database.set_behavior(Behavior::Hanging);
    let verifier = Verifier::new(keys).with_clock(clock.clone());
    let signer = Signer::new(app("demo"), secret(1));
    let request = rig::signed_by(&signer, NOW + TTL.as_secs(), rig::get("/"));
    let rejection = verifier.verify(rig::incoming(request)).await.unwrap_err();
    assert_eq!(rejection.kind(), RejectionKind::Unavailable);
    let detail = format!("{:?}", rejection.to_response());
    assert!(!detail.contains("250 ms"), "callers must not see the cause: {detail}");
}

#[tokio::test(start_paused = true)]
async fn stale_keys_are_returned_during_grace() {
    let (keys, database, clock) = expired_with_grace(GRACE).await;
    database.set_behavior(Behavior::Hanging);
    let start = Instant::now();
    let answers = join_all((0..10).map(|_| look_up(&keys, "demo"))).await;
    assert!(answers.iter().all(|answer| answer == "key 1"), "{answers:?}");
    assert!(start.elapsed() <= DEADLINE + MS && start.elapsed() >= DEADLINE, "{:?}", start.elapsed());
    settle().await;
    assert_eq!(database.lookups(), 2);
    clock.advance(SECOND);
    for _ in 0..100 {
        assert_eq!(look_up_now(&keys, "demo").await, "key 1");
        settle().await;
    }
    assert_eq!((database.lookups(), database.in_flight()), (3, 1), "one retry at a time");
}

#[tokio::test(start_paused = true)]
async fn recovered_store_replaces_stale_keys() {
    let (keys, database, clock) = expired_with_grace(GRACE).await;
    database.set_behavior(Behavior::Failing);
    assert_eq!(look_up(&keys, "demo").await, "key 1");
    clock.advance(SECOND);
    assert_eq!(look_up(&keys, "demo").await, "key 1");
    settle().await;
    database.set_behavior(Behavior::Healthy);
    database.set("demo", 2);
    clock.advance(SECOND);
    assert_eq!(look_up_now(&keys, "demo").await, "key 1", "no caller waits for the retry that succeeds");
    settle().await;
    assert_eq!(look_up(&keys, "demo").await, "key 2");
}

#[tokio::test(start_paused = true)]
async fn old_lookup_failure_is_not_an_outage() {
    let (keys, database, clock) = expired_with_grace(GRACE).await;
    database.set_behavior(Behavior::Failing);
    assert_eq!(look_up(&keys, "demo").await, "key 1");
    database.set_behavior(Behavior::Healthy);
    database.set("demo", 2);
    clock.advance(100 * MS + DEADLINE + SECOND);
    assert_eq!(look_up(&keys, "demo").await, "key 2", "the store is read before stale keys are used");
}

#[tokio::test(start_paused = true)]
async fn stale_key_fails_after_the_grace() {
    for behavior in [Behavior::Failing, Behavior::Hanging, Behavior::Panicking] {
        let (keys, database, clock) = expired_with_grace(GRACE).await;
        database.set_behavior(behavior);
        assert_eq!(look_up(&keys, "demo").await, "key 1");
        clock.advance(GRACE - MS);
        assert_eq!(look_up(&keys, "demo").await, "key 1");
        settle().await;
        clock.advance(MS);
        let answer = look_up(&keys, "demo").await;
        assert!([FAILED, LATE, PANICKED].contains(&&*answer), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn grace_can_end_during_a_lookup() {
    let (keys, database, clock) = expired_with_grace(GRACE).await;
    database.set_behavior(Behavior::Hanging);
    clock.advance(GRACE - MS);
    let (answer, ()) = tokio::join!(look_up(&keys, "demo"), async {
        settle().await;
        clock.advance(MS);
    });
    assert_eq!(answer, LATE);
}

#[tokio::test(start_paused = true)]
async fn grace_does_not_revive_a_disabled_app() {
    let (keys, database, clock) = expired_with_grace(GRACE).await;
    database.remove("demo");
    assert_eq!(look_up(&keys, "demo").await, "none");
    database.set_behavior(Behavior::Failing);
    assert_eq!(look_up(&keys, "demo").await, "none");
    clock.advance(UNKNOWN_TTL);
    for _ in 0..3 {
        assert_eq!(look_up(&keys, "demo").await, FAILED);
        clock.advance(SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn app_disabled_during_an_outage_is_rejected_afterwards() {
    let (keys, database, clock) = expired_with_grace(GRACE).await;
    database.set_behavior(Behavior::Failing);
    assert_eq!(look_up(&keys, "demo").await, "key 1");
    database.remove("demo");
    database.set_behavior(Behavior::Healthy);
    clock.advance(SECOND);
    look_up(&keys, "demo").await;
    settle().await;
    assert_eq!(look_up(&keys, "demo").await, "none");
}

#[tokio::test(start_paused = true)]
async fn unknown_app_has_no_grace() {
    let (keys, database, clock) = cached();
    let keys = keys.with_grace(GRACE);
    assert_eq!(look_up(&keys, "stranger").await, "none");
    database.set_behavior(Behavior::Failing);
    clock.advance(UNKNOWN_TTL);
    assert_eq!(look_up(&keys, "stranger").await, FAILED);
    assert_eq!(look_up(&keys, "another").await, FAILED);
}

#[test]
fn stale_keys_are_logged_once_a_minute() {
    // One request every six seconds.
    for (requests, logged) in [(0, 0), (1, 1), (10, 1), (11, 2), (20, 2), (21, 3), (30, 3)] {
        let log = crate::secrets::log_of(|_| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let (keys, database, clock) = expired_with_grace(GRACE).await;
                database.set_behavior(Behavior::Failing);
                for _ in 0..requests {
                    look_up(&keys, "demo").await;
                    settle().await;
                    clock.advance(6 * SECOND);
                }
            });
        });
        assert_eq!(log.matches("keys are used beyond their time").count(), logged, "{requests}: {log}");
        assert_eq!(log.contains("no route to the database"), logged > 0, "{log}");
    }
}
